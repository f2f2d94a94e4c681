/* The loops of tensor_histogram.c, which includes this once for each REAL. INT and UINT are as
 * wide; adding MAGIC rounds to an integer, which then stands in the low bits.
 */

typedef REAL NAME(reals) __attribute__((vector_size(VECTOR_BYTES)));
typedef INT NAME(ints) __attribute__((vector_size(VECTOR_BYTES)));
typedef UINT NAME(uints) __attribute__((vector_size(VECTOR_BYTES)));

/* By comparison, whatever the edges are. */
static void NAME(count_by_edges)(cirron_histogram *histogram, const REAL *values, size_t len) {
    UINT above = (UINT)len;
    for (int i = 1; i < CIRRON_BINS; i++) {
        const REAL edge = (REAL)histogram->edges[i];
        UINT not_below = 0;
        for (size_t k = 0; k < len; k++) {
            not_below += values[k] >= edge;
        }
        histogram->counts[i - 1] += above - not_below;
        above = not_below;
    }
    histogram->counts[CIRRON_BINS - 1] += above;
}

/* Returns how many it has counted: all but a few at the end. */
static CIRRON_VECTORS size_t NAME(count_by_arithmetic)(cirron_histogram *histogram,
                                                       const REAL *values, size_t len) {
    enum { LANES = VECTOR_BYTES / sizeof(REAL) };
    const REAL first = (REAL)histogram->edges[0];
    const REAL scale = (REAL)histogram->scale;
    const REAL width = (REAL)histogram->width;
    const REAL magic = MAGIC, magic_and_seven = MAGIC + 7;
    const size_t vectors = len / LANES;
    NAME(uints) all[4] = {{0}}, upper[4] = {{0}};
    INT seven;
    memcpy(&seven, &magic_and_seven, sizeof(seven));
    for (size_t v = 0; v < vectors;) {
        NAME(uints) all_bytes[2] = {{0}}, upper_bytes[2] = {{0}};
        for (int group = 0; group < GROUPS && v < vectors; group++) {
            const size_t some = vectors - v < GROUP ? vectors - v : GROUP;
            NAME(uints) all_nibbles = {0}, upper_nibbles = {0};
            NAME(ints) bins[GROUP];
            /* Two loops, since one is a chain of instructions too long to overlap. */
            for (size_t k = 0; k < some; k++) {
                NAME(reals) x;
                memcpy(&x, values + (v + k) * LANES, sizeof(x));
                const NAME(reals) rounded = (x - first) * scale + magic;
                const NAME(reals) edge = (rounded - magic) * width + first;
                bins[k] = (NAME(ints))rounded + (x < edge); /* true is -1 */
            }
            for (size_t k = 0; k < some; k++) {
                const NAME(uints) one = {0};
                const NAME(uints) counter = (one + 1) << (((NAME(uints))bins[k] & 7) << 2);
                all_nibbles += counter;
                upper_nibbles += counter & (NAME(uints))(bins[k] > seven);
            }
            for (int odd = 0; odd < 2; odd++) {
                all_bytes[odd] += (all_nibbles >> (4 * odd)) & EVEN_NIBBLES;
                upper_bytes[odd] += (upper_nibbles >> (4 * odd)) & EVEN_NIBBLES;
            }
            v += some;
        }
        for (int field = 0; field < 4; field++) {
            all[field] += (all_bytes[field / 2] >> (8 * (field % 2))) & EVEN_BYTES;
            upper[field] += (upper_bytes[field / 2] >> (8 * (field % 2))) & EVEN_BYTES;
        }
    }
    for (int field = 0; field < 4; field++) {
        for (int lane = 0; lane < LANES; lane++) {
            add_fields(histogram->counts, field, all[field][lane], upper[field][lane]);
        }
    }
    return vectors * LANES;
}

static void NAME(add)(cirron_histogram *histogram, const REAL *values, size_t len) {
    size_t done = 0;
    assert(len <= CIRRON_HISTOGRAM_MAX_BLOCK);
    if (histogram->evenly_rounded && cirron_has_vectors()) {
        done = NAME(count_by_arithmetic)(histogram, values, len);
    }
    NAME(count_by_edges)(histogram, values + done, len - done);
}
