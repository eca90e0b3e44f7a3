/* postgresql.h - a PostgreSQL server of the test's own: a cluster in a temporary directory, reached by a socket there. */
#ifndef SUPPORT_POSTGRESQL_H
#define SUPPORT_POSTGRESQL_H

#include <stdbool.h>

/* Starts it, once, in the parent of all tests; it ends with that process. False, after saying why, where no server is
 * installed. As root it runs as the user postgres or nobody. */
bool start_postgresql(void);
/* Ends the server as a crash of it would, all connections with it, and starts it again. In the process that started it. */
void crash_postgresql(void);
/* The address of a new, empty database on it. Static storage. */
const char *a_postgresql_database(void);
/* One statement, in the database at this address, by a connection of its own. */
void run_in_postgresql(const char *database, const char *sql);

#endif
