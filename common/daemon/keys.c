#include "daemon/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/io.h"
#include "net/codec.h"
#include "net/node.h"

enum { MAX_FILE = 1 << 20, MAX_PEERS = 1 << 14, NAME_MAX_BYTES = 64 };

struct known {
    char key[RLHF_KEY_TEXT];
    char name[NAME_MAX_BYTES];
    Rlhf__V1__Role role;
    struct rlhf_sender sender; /* its name is the one above */
};

/* In the order of their keys. */
struct list {
    struct known *known;
    size_t count;
};

struct rlhf_keys {
    char *peers_file;
    char own[RLHF_KEY_TEXT], secret[RLHF_KEY_TEXT];
    struct list list;
};

/* ---- the peers ------------------------------------------------------------------------------------- */

static bool is_key(const char *text)
{
    uint8_t bytes[RLHF_KEY_SIZE];

    return strlen(text) == RLHF_KEY_TEXT - 1 && zmq_z85_decode(bytes, text) != NULL;
}

static bool role_of(const char *text, Rlhf__V1__Role *role)
{
    for (Rlhf__V1__Role r = RLHF__V1__ROLE__ROLE_LEARNER; r <= RLHF__V1__ROLE__ROLE_CONTROL; r++)
        if (strcmp(text, rlhf_role_name(r)) == 0) {
            *role = r;
            return true;
        }
    return false;
}

static int read_limit(const char *text, size_t *sessions)
{
    static const char says[] = "sessions=";
    char *end;

    if (strncmp(text, says, sizeof says - 1) != 0)
        return -1;
    text += sizeof says - 1;
    *sessions = strtoul(text, &end, 10);
    return *text < '0' || *text > '9' || *end || *sessions > UINT16_MAX ? -1 : 0;
}

static int read_line(char *line, struct known *out, const char *file, size_t number, struct rlhf_error *err)
{
    static const char spaces[] = " \t\r";
    char *rest, *key = strtok_r(line, spaces, &rest), *role = strtok_r(NULL, spaces, &rest);
    char *name = strtok_r(NULL, spaces, &rest), *limit = strtok_r(NULL, spaces, &rest);

    if (!name)
        return rlhf_fail(err, RLHF_REJECT, "%s:%zu: a line is PUBLIC_KEY ROLE NAME [sessions=N]", file, number);
    if (!is_key(key))
        return rlhf_fail(err, RLHF_REJECT, "%s:%zu: no public key of %d letters (Z85) stands first", file, number,
                         RLHF_KEY_TEXT - 1);
    if (!role_of(role, &out->role))
        return rlhf_fail(err, RLHF_REJECT,
                         "%s:%zu: '%.40s' is no role: learner, rollout-worker, reward-scorer, label-collector or rlhfctl",
                         file, number, role);
    if (strlen(name) >= NAME_MAX_BYTES)
        return rlhf_fail(err, RLHF_REJECT, "%s:%zu: the name is longer than %d bytes", file, number, NAME_MAX_BYTES - 1);
    if (limit && (read_limit(limit, &out->sender.sessions) < 0 || strtok_r(NULL, spaces, &rest)))
        return rlhf_fail(err, RLHF_REJECT, "%s:%zu: only sessions=N (0 to %d) may follow the name", file, number, UINT16_MAX);
    strcpy(out->key, key);
    strcpy(out->name, name);
    out->sender.roles = RLHF_ROLE_BIT(out->role);
    return 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct known *)a)->key, ((const struct known *)b)->key);
}

/* Keys and names are unique: a name in a log means one key. */
static int sort(struct list *l, const char *file, struct rlhf_error *err)
{
    if (l->count > 0)
        qsort(l->known, l->count, sizeof *l->known, by_key);
    for (size_t i = 0; i < l->count; i++) {
        l->known[i].sender.name = l->known[i].name;
        if (i > 0 && strcmp(l->known[i].key, l->known[i - 1].key) == 0)
            return rlhf_fail(err, RLHF_REJECT, "%s: the key of %s is also that of %s", file, l->known[i].name,
                             l->known[i - 1].name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(l->known[i].name, l->known[j].name) == 0)
                return rlhf_fail(err, RLHF_REJECT, "%s: the name %s stands there twice", file, l->known[i].name);
    }
    return 0;
}

static int parse(struct list *l, char *text, const char *file, struct rlhf_error *err)
{
    char *rest = text;

    for (size_t number = 1; rest; number++) {
        char *line = strsep(&rest, "\n");
        struct known *more;

        line += strspn(line, " \t\r");
        if (!*line || *line == '#')
            continue;
        if (l->count == MAX_PEERS)
            return rlhf_fail(err, RLHF_REJECT, "%s: more than %d peers", file, MAX_PEERS);
        if (!(more = reallocarray(l->known, l->count + 1, sizeof *more)))
            return rlhf_fail(err, RLHF_FULL, "no memory for the peers of %s", file);
        l->known = more;
        more[l->count] = (struct known){ 0 };
        if (read_line(line, &more[l->count], file, number, err) < 0)
            return -1;
        l->count++;
    }
    return sort(l, file, err);
}

static int read_peers(struct list *out, const char *file, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    struct list l = { 0 };
    int rc = rlhf_read_file(&rlhf_system_io, file, MAX_FILE, &text, err);

    if (rc == 0 && (rc = parse(&l, text.data ? text.data : "", file, err)) == 0)
        *out = l;
    else
        free(l.known);
    rlhf_bytes_free(&text);
    return rc;
}

/* ---- our own key ----------------------------------------------------------------------------------- */

/* systemd puts credentials into a directory of its own; a bare name is looked for there first. */
static int find_key_file(const char *name, char *path, size_t size, struct rlhf_error *err)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");

    if (dir && *dir && !strchr(name, '/')) {
        if (rlhf_path(path, size, dir, name, err) < 0)
            return -1;
        if (rlhf_exists(&rlhf_system_io, path))
            return 0;
    }
    if ((size_t)snprintf(path, size, "%s", name) >= size)
        return rlhf_fail(err, RLHF_REJECT, "the path %s is too long", name);
    return 0;
}

/* Nobody else may read it: a secret that others know is none. */
static int check_mode(const char *path, struct rlhf_error *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return rlhf_fail_errno(err, errno, "cannot read the key %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || (st.st_uid != geteuid() && st.st_uid != 0))
        return rlhf_fail(err, RLHF_REJECT, "the key %s must be a file that only its owner can read, and be ours: chown it, and "
                                           "chmod 600 it",
                         path);
    return 0;
}

static int read_key(struct rlhf_keys *k, const char *name, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    char path[4096], *rest, *secret = NULL;
    int rc = -1;

    if (find_key_file(name, path, sizeof path, err) < 0 || check_mode(path, err) < 0
        || rlhf_read_file(&rlhf_system_io, path, MAX_FILE, &text, err) < 0)
        return -1;
    rest = text.data;
    while (rest && (!secret || !*secret || *secret == '#')) {
        secret = strsep(&rest, "\n");
        secret += strspn(secret, " \t\r");
        secret[strcspn(secret, " \t\r")] = 0;
    }
    if (!secret || !is_key(secret)) {
        rlhf_fail(err, RLHF_REJECT, "%s holds no secret key of %d letters (Z85); `rlhfctl keys new` makes one", path,
                  RLHF_KEY_TEXT - 1);
    } else {
        memcpy(k->secret, secret, RLHF_KEY_TEXT);
        rc = zmq_curve_public(k->own, k->secret) == 0 ? 0
                                                      : rlhf_fail(err, RLHF_FATAL, "libzmq was built without CURVE");
    }
    if (text.data)
        rlhf_wipe(text.data, text.size);
    rlhf_bytes_free(&text);
    return rc;
}

int rlhf_keys_make(const char *key_file, char public_key[RLHF_KEY_TEXT], struct rlhf_error *err)
{
    char secret[RLHF_KEY_TEXT], text[160];
    int fd, rc, size;

    if (zmq_curve_keypair(public_key, secret) < 0)
        return rlhf_fail(err, RLHF_FATAL, "no new keys: %s", zmq_strerror(errno));
    size = snprintf(text, sizeof text, "# A secret key of rlhfd. Its public key: %s\n%s\n", public_key, secret);
    fd = open(key_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = rlhf_fail_errno(err, errno, "cannot make %s", key_file);
    } else {
        rc = rlhf_pwrite(&rlhf_system_io, fd, text, (size_t)size, 0) < 0 || fsync(fd) < 0
                 ? rlhf_fail_errno(err, errno, "cannot write %s", key_file)
                 : 0;
        close(fd);
    }
    rlhf_wipe(secret, sizeof secret);
    rlhf_wipe(text, sizeof text);
    return rc;
}

/* ---- asking ---------------------------------------------------------------------------------------- */

const char *rlhf_keys_public(const struct rlhf_keys *k)
{
    return k->own;
}

const char *rlhf_keys_secret(const struct rlhf_keys *k)
{
    return k->secret;
}

const struct rlhf_sender *rlhf_keys_find(const struct rlhf_keys *k, const char *public_key)
{
    size_t low = 0, high = k->list.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(public_key, k->list.known[middle].key);

        if (order == 0)
            return &k->list.known[middle].sender;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool rlhf_keys_know(const struct rlhf_keys *k, const char *name, Rlhf__V1__Role role)
{
    for (size_t i = 0; i < k->list.count; i++)
        if (strcmp(k->list.known[i].name, name) == 0)
            return k->list.known[i].role == role;
    return false;
}

const char *rlhf_keys_of_service(const struct rlhf_keys *k, Rlhf__V1__Role role, struct rlhf_error *err)
{
    const struct known *found = NULL;

    for (size_t i = 0; i < k->list.count; i++) {
        if (k->list.known[i].role != role)
            continue;
        if (found) {
            rlhf_fail(err, RLHF_REJECT, "%s has two keys of a %s: leave the one that is connected to", k->peers_file,
                      rlhf_role_name(role));
            return NULL;
        }
        found = &k->list.known[i];
    }
    if (!found) {
        rlhf_fail(err, RLHF_REJECT, "%s has no key of a %s: add the line that `rlhfctl keys new` printed for it", k->peers_file,
                  rlhf_role_name(role));
        return NULL;
    }
    return found->key;
}

/* ---- life ------------------------------------------------------------------------------------------ */

int rlhf_keys_reload(struct rlhf_keys *k, struct rlhf_error *err)
{
    struct list fresh;

    if (read_peers(&fresh, k->peers_file, err) < 0)
        return -1;
    free(k->list.known);
    k->list = fresh;
    return 0;
}

struct rlhf_keys *rlhf_keys_open(const char *key_file, const char *peers_file, struct rlhf_error *err)
{
    struct rlhf_keys *k = calloc(1, sizeof *k);

    if (!k || !(k->peers_file = strdup(peers_file))) {
        free(k);
        rlhf_fail(err, RLHF_FULL, "no memory for keys");
        return NULL;
    }
    if (read_key(k, key_file, err) < 0 || rlhf_keys_reload(k, err) < 0) {
        rlhf_keys_free(k);
        return NULL;
    }
    return k;
}

void rlhf_keys_free(struct rlhf_keys *k)
{
    if (!k)
        return;
    rlhf_wipe(k->secret, sizeof k->secret);
    free(k->list.known);
    free(k->peers_file);
    free(k);
}
