/* A directory of shards: an index and two files, opened and packed as generation does it. The input is 2 bytes of the
 * index's size, 2 of the first file's, the index, the first file, the second. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "model/model.h"

static const char config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":4,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"intermediate_size\":3,\"vocab_size\":5,"
    "\"max_position_embeddings\":8,\"tie_word_embeddings\":true,\"bos_token_id\":1,\"eos_token_id\":2}";

static char dir[64];

static void put(const char *name, const void *data, size_t size)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static void remove_directory(void)
{
    static const char *const names[] = { "config.json", "model.safetensors.index.json", "a", "b", "." };
    char path[128];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void make_directory(void)
{
    snprintf(dir, sizeof dir, "%s/rlhf-fuzz-shards-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        abort();
    atexit(remove_directory);
    put("config.json", config, sizeof config - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t index = size >= 4 ? (size_t)(data[0] | data[1] << 8) : 0, first = size >= 4 ? (size_t)(data[2] | data[3] << 8) : 0;
    struct rlhf_model *m;

    if (size < 4 || index > size - 4 || first > size - 4 - index)
        return 0;
    if (!dir[0])
        make_directory();
    data += 4;
    size -= 4;
    put("model.safetensors.index.json", data, index);
    put("a", data + index, first);
    put("b", data + index + first, size - index - first);
    m = rlhf_model_open(dir, (enum rlhf_panels)(size % 3), NULL);
    if (m)
        rlhf_model_ready(m, NULL, NULL);
    rlhf_model_free(m);
    return 0;
}
