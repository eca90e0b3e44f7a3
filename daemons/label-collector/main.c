/* label-collector: turns people's judgements into comparisons that the learner trains on. */
#include <stdlib.h>
#include <string.h>

#include "collector.h"
#include "daemon/daemon.h"
#include "http.h"
#include "sync.h"
#include "telemetry/log.h"
#include "token_command.h"
#include "vendor_config.h"

static int check(void *config, const char *where, struct rlhf_error *err)
{
    return collector_vendors_check(&((struct collector_config *)config)->vendors, where, err);
}

static const struct rlhf_daemon_info info = {
    .name = "label-collector",
    .summary = "collects comparisons from people: labeling page, HTTP API, imports",
    .role = RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR,
    .schema = &collector_config_schema,
    .config_size = sizeof(struct collector_config),
    .finish = check,
};

static void on_fatal(void *daemon, const struct rlhf_error *err)
{
    rlhf_daemon_fail(daemon, err);
}

static void on_drain(void *daemon)
{
    rlhf_daemon_stop(daemon);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "token") == 0)
        return collector_token_command(argc - 1, argv + 1);

    struct collector_config config = { 0 };
    struct rlhf_error err = { .code = RLHF_OK };
    struct rlhf_daemon *d = rlhf_daemon_new(&info, argc, argv, &config, &err);
    struct collector *c = d ? collector_new(rlhf_daemon_env(d), &config, &err) : NULL;
    bool vendors = c && config.vendors.count > 0;
    struct collector_sync *s = vendors ? collector_sync_new(c, &err) : NULL;
    struct collector_http *h = c && (s || !vendors) ? collector_http_new(c, &err) : NULL;
    struct rlhf_machine machine;
    struct rlhf_node *node;

    if (h) {
        machine = collector_machine(c);
        collector_on_end(c, on_fatal, on_drain, d);
        if ((node = rlhf_daemon_node(d, &machine, config.run, "", &err))
            && rlhf_daemon_keys(d, config.key, config.peers, &err) == 0
            && rlhf_daemon_serve(d, config.listen, config.insecure, &err) == 0
            && rlhf_daemon_watch(d, collector_http_fd(h), collector_http_run, h, &err) == 0
            && (!s || rlhf_daemon_watch(d, collector_sync_fd(s), collector_sync_run, s, &err) == 0)) {
            collector_attach(c, node);
            rlhf_log(RLHF_LEVEL_INFO, "ready listen=%s http=%s", rlhf_daemon_endpoint(d),
                     collector_http_address(h));
            rlhf_daemon_run(d, &err);
        }
    }
    if (err.code != RLHF_OK)
        rlhf_log_error("label-collector", &err);
    collector_http_free(h);
    collector_sync_free(s);
    rlhf_daemon_free(d); /* frees the node, which borrows machine */
    collector_free(c);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
