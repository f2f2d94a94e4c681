/* The loop of tensor_moments.c, which includes this once for each REAL, NAME and TARGET. */

static inline __attribute__((always_inline)) TARGET void
NAME(sum_about)(double origin, const REAL *restrict values, size_t len, sums *out) {
    double sum[LANES] = {0}, squares[LANES] = {0};
    REAL min[LANES], max[LANES];
    size_t i = 0;
    for (size_t lane = 0; lane < LANES; lane++) {
        min[lane] = (REAL)INFINITY;
        max[lane] = -(REAL)INFINITY;
    }
    for (; i + LANES <= len; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const REAL value = values[i + lane];
            const double x = (double)value - origin;
            sum[lane] += x;
            squares[lane] += x * x;
            min[lane] = value < min[lane] ? value : min[lane];
            max[lane] = value > max[lane] ? value : max[lane];
        }
    }
    for (size_t lane = 0; i < len; i++, lane++) {
        const double x = (double)values[i] - origin;
        sum[lane] += x;
        squares[lane] += x * x;
        min[lane] = values[i] < min[lane] ? values[i] : min[lane];
        max[lane] = values[i] > max[lane] ? values[i] : max[lane];
    }
    for (size_t width = LANES / 2; width > 0; width /= 2) {
        for (size_t lane = 0; lane < width; lane++) {
            sum[lane] += sum[lane + width];
            squares[lane] += squares[lane + width];
            min[lane] = min[lane + width] < min[lane] ? min[lane + width] : min[lane];
            max[lane] = max[lane + width] > max[lane] ? max[lane + width] : max[lane];
        }
    }
    *out = (sums){sum[0], squares[0], (double)min[0], (double)max[0]};
}

static TARGET void NAME(sum_about_zero)(const REAL *values, size_t len, sums *out) {
    NAME(sum_about)(0.0, values, len, out);
}

static TARGET void NAME(sum_about_first)(const REAL *values, size_t len, sums *out) {
    NAME(sum_about)((double)values[0], values, len, out);
}

static bool NAME(add)(cirron_moments *total, const REAL *values, size_t len) {
    const double count = (double)len;
    sums about;
    if (len == 0) {
        return true;
    }
    NAME(sum_about_zero)(values, len, &about);
    if (!isfinite(about.squares)) {
        return false;
    }
    cirron_moments block = {.count = count,
                            .mean = about.sum / count,
                            .squares = about.squares,
                            .min = about.min,
                            .max = about.max};
    block.deviations = about.squares - about.sum * block.mean;
    if (block.deviations < about.squares * CANCELLED) {
        NAME(sum_about_first)(values, len, &about);
        block.mean = (double)values[0] + about.sum / count;
        block.deviations = fmax(0.0, about.squares - about.sum * (about.sum / count));
    }
    merge(total, &block);
    return true;
}
