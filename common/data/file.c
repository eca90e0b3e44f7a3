#include "data/file.h"

#include <zlib.h>

enum { GZIP = 15 + 16 /* window bits of zlib, and 16: with a gzip header */, STEP = 1 << 20 };

static bool is_gzip(const struct rlhf_mapping *m)
{
    return m->size > 2 && m->data[0] == 0x1f && m->data[1] == 0x8b;
}

/* One member behind the other, as gzip(1) reads them, until the file ends. */
static int unpack_members(struct rlhf_data_file *f, z_stream *z, struct rlhf_error *err)
{
    size_t left = f->map.size;
    int rc = Z_OK;

    z->next_in = (Bytef *)f->map.data; /* zlib does not write there */
    while (left > 0 || z->avail_in > 0 || rc != Z_STREAM_END) {
        size_t room = STEP, given = left < STEP ? left : STEP;

        if (rc == Z_STREAM_END && inflateReset(z) != Z_OK)
            return rlhf_fail(err, RLHF_FATAL, "%s: zlib cannot begin anew", f->path);
        if (z->avail_in == 0) {
            z->avail_in = (uInt)given;
            left -= given;
        }
        if (rlhf_bytes_reserve(&f->unpacked, room, err) < 0)
            return rlhf_fail_prefix(err, "%s", f->path);
        z->next_out = (Bytef *)f->unpacked.data + f->unpacked.size;
        z->avail_out = (uInt)room;
        rc = inflate(z, Z_NO_FLUSH);
        f->unpacked.size += room - z->avail_out;
        f->unpacked.data[f->unpacked.size] = '\0';
        if (rc == Z_BUF_ERROR && z->avail_in == 0 && left == 0)
            return rlhf_fail(err, RLHF_REJECT, "%s: the gzip data ends too early", f->path);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return rlhf_fail(err, RLHF_REJECT, "%s: not whole gzip data: %s", f->path, z->msg ? z->msg : zError(rc));
        if (f->unpacked.size > RLHF_UNPACKED_MAX)
            return rlhf_fail(err, RLHF_REJECT, "%s: unpacks to more than %d bytes; divide the file", f->path, RLHF_UNPACKED_MAX);
    }
    return 0;
}

static int unpack(struct rlhf_data_file *f, struct rlhf_error *err)
{
    z_stream z = { 0 };
    int rc;

    if (inflateInit2(&z, GZIP) != Z_OK)
        return rlhf_fail(err, RLHF_FULL, "%s: no memory to unpack it", f->path);
    rc = unpack_members(f, &z, err);
    inflateEnd(&z);
    f->data = f->unpacked.data;
    f->size = f->unpacked.size;
    return rc;
}

int rlhf_data_file_open(struct rlhf_data_file *f, const char *path, struct rlhf_error *err)
{
    *f = (struct rlhf_data_file){ .path = path };
    if (rlhf_map_file(&f->map, path, err) < 0)
        return -1;
    f->data = (const char *)f->map.data;
    f->size = f->map.size;
    if (!is_gzip(&f->map) || unpack(f, err) == 0)
        return 0;
    rlhf_data_file_close(f);
    return -1;
}

void rlhf_data_file_close(struct rlhf_data_file *f)
{
    rlhf_unmap(&f->map);
    rlhf_bytes_free(&f->unpacked);
    f->data = NULL;
    f->size = 0;
}
