/*
 * Where Xet cuts a stream (XET 8): the loop of hubreg.formats.chunking.Chunker, ten times as fast. Optional:
 * hubreg.ops.cutters compiles it where there is a compiler, and compares the two before it is used.
 */
#include <stddef.h>
#include <stdint.h>

#define WINDOW 64 /* bytes that the rolling hash knows: each shifts it by one bit */

struct open_chunk {
    uint64_t hash;
    uint64_t size;
};

/* The lengths of the chunks that end in `data` go to `lengths`; how many there are is returned. */
size_t hubreg_cut(struct open_chunk *open, const uint8_t *data, size_t count, const uint64_t gear[256],
                  uint64_t mask, uint64_t smallest, uint64_t largest, uint32_t *lengths)
{
    const uint8_t *at = data, *end = data + count;
    uint64_t hash = open->hash, size = open->size;
    size_t found = 0;

    while (at < end) {
        uint64_t left = (uint64_t)(end - at);
        if (size + WINDOW < smallest) { /* what no hash that counts will know */
            uint64_t skipped = smallest - WINDOW - size < left ? smallest - WINDOW - size : left;
            at += skipped;
            size += skipped;
            hash = 0;
            continue;
        }
        const uint8_t *start = at, *stop = largest - size < left ? at + (largest - size) : end;
        const uint8_t *quiet = size < smallest ? at + (smallest - 1 - size) : at; /* no cut before */
        int cut = 0;
        for (quiet = quiet < stop ? quiet : stop; at < quiet; at++)
            hash = (hash << 1) + gear[*at];
        while (at < stop) {
            hash = (hash << 1) + gear[*at++];
            if (!(hash & mask)) {
                cut = 1;
                break;
            }
        }
        size += (uint64_t)(at - start);
        if (cut || size == largest) {
            lengths[found++] = (uint32_t)size;
            hash = size = 0;
        }
    }
    open->hash = hash;
    open->size = size;
    return found;
}
