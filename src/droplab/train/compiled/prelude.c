/* The operations of a recorded step, for one thread. Sizes are literals where these are called, so
 * that the compiler unrolls loops and keeps sums in registers. Matrices are float32 and row-major;
 * no pointer overlaps another one that is written. */

#include <math.h>
#include <stdint.h>

#define OP static inline __attribute__((always_inline))
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

/* Sums that are kept in registers at a time: 16 of 32 registers, or 12 of 16. */
#if defined(__AVX512F__)
#define DOTS_DOWN 4
#define DOTS_ACROSS 4
#define ROWS_DOWN 4
#define ROWS_ACROSS 4
#else
#define DOTS_DOWN 2
#define DOTS_ACROSS 6
#define ROWS_DOWN 6
#define ROWS_ACROSS 2
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

typedef int64_t (*mask_kernel)(const float *x, int64_t x_step, float *out, int64_t rows, int64_t n,
                               const int64_t *keys, int64_t key_step, const double *rates,
                               int64_t rate_step, int64_t first, int64_t last);

OP vec load(const float *x) { return *(const vec *)x; }

OP vec spread(float x) { return x - (vec){0}; }

OP float total(vec v) {
    union { vec all; quad part[LANES / 4]; } of = {v};
    quad sum = of.part[0];
    for (int i = 1; i < LANES / 4; i++) sum += of.part[i];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* y[m][n] = bias[n] + the scalar product of row m of a and row n of b, for m < rows, n < columns */
OP void dots_block(int rows, int columns, int K, const float *a, const float *b, const float *bias,
                   float *y, int N) {
    vec sums[DOTS_DOWN][DOTS_ACROSS];
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
        for (int n = 0; n < columns; n++) sums[m][n] = spread(0);
    int k = 0;
    for (; k + LANES <= K; k += LANES)
#pragma GCC unroll 8
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
            for (int n = 0; n < columns; n++) sums[m][n] += load(a + m * K + k) * load(b + n * K + k);
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
        for (int n = 0; n < columns; n++) {
            float sum = total(sums[m][n]);
            for (int j = k; j < K; j++) sum += a[m * K + j] * b[n * K + j];
            y[m * N + n] = bias ? bias[n] + sum : sum;
        }
}

/* `columns` rows of b stay in the nearest cache */
OP void dots_strip(int columns, int M, int K, const float *a, const float *b, const float *bias,
                   float *y, int N) {
    int m = 0;
    for (; m + DOTS_DOWN <= M; m += DOTS_DOWN)
        dots_block(DOTS_DOWN, columns, K, a + m * K, b, bias, y + m * N, N);
    if (m < M) dots_block(M % DOTS_DOWN, columns, K, a + m * K, b, bias, y + m * N, N);
}

/* y (M, N) = a (M, K) times the transpose of b (N, K), plus bias (N) */
OP void dots(int M, int N, int K, const float *a, const float *b, const float *bias, float *y) {
    int n = 0;
    for (; n + DOTS_ACROSS <= N; n += DOTS_ACROSS)
        dots_strip(DOTS_ACROSS, M, K, a, b + n * K, bias ? bias + n : 0, y + n, N);
    if (n < N) dots_strip(N % DOTS_ACROSS, M, K, a, b + n * K, bias ? bias + n : 0, y + n, N);
}

OP void rows_block(int rows, int vectors, int K, const float *a, int down, int right,
                   const float *b, float *y, int N) {
    vec sums[ROWS_DOWN][ROWS_ACROSS];
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[m][v] = spread(0);
    for (int k = 0; k < K; k++)
#pragma GCC unroll 8
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sums[m][v] += spread(a[m * down + k * right]) * load(b + k * N + v * LANES);
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) *(vec *)(y + m * N + v * LANES) = sums[m][v];
}

OP void rows_strip(int vectors, int M, int K, const float *a, int down, int right, const float *b,
                   float *y, int N) {
    int m = 0;
    for (; m + ROWS_DOWN <= M; m += ROWS_DOWN)
        rows_block(ROWS_DOWN, vectors, K, a + m * down, down, right, b, y + m * N, N);
    if (m < M) rows_block(M % ROWS_DOWN, vectors, K, a + m * down, down, right, b, y + m * N, N);
}

/* y (M, N) = a (M, K) times b (K, N); a is read at a[m * down + k * right] */
OP void rows(int M, int N, int K, const float *a, int down, int right, const float *b, float *y) {
    int n = 0;
    for (; n + ROWS_ACROSS * LANES <= N; n += ROWS_ACROSS * LANES)
        rows_strip(ROWS_ACROSS, M, K, a, down, right, b + n, y + n, N);
    for (; n + LANES <= N; n += LANES) rows_strip(1, M, K, a, down, right, b + n, y + n, N);
    for (; n < N; n++)
        for (int m = 0; m < M; m++) {
            float sum = 0;
            for (int k = 0; k < K; k++) sum += a[m * down + k * right] * b[k * N + n];
            y[m * N + n] = sum;
        }
}

OP void relu(int n, const float *x, float *y) {
    for (int i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
}

OP void relu_backward(int n, const float *gradient, const float *y, float *x) {
    for (int i = 0; i < n; i++) x[i] = y[i] <= 0 ? 0 : gradient[i];
}

OP void column_sums(int M, int N, const float *x, float *y) {
    for (int n = 0; n < N; n++) y[n] = x[n];
    for (int m = 1; m < M; m++)
        for (int n = 0; n < N; n++) y[n] += x[m * N + n];
}

OP void log_softmax(int M, int N, const float *x, float *y) {
    for (int m = 0; m < M; m++, x += N, y += N) {
        float largest = x[0], sum = 0;
        for (int n = 1; n < N; n++) largest = x[n] > largest ? x[n] : largest;
        for (int n = 0; n < N; n++) sum += expf(x[n] - largest);
        float log_sum = logf(sum) + largest;
        for (int n = 0; n < N; n++) y[n] = x[n] - log_sum;
    }
}

OP void log_softmax_backward(int M, int N, const float *gradient, const float *y, float *x) {
    for (int m = 0; m < M; m++, gradient += N, x += N, y += N) {
        float sum = 0;
        for (int n = 0; n < N; n++) sum += gradient[n];
        for (int n = 0; n < N; n++) x[n] = gradient[n] - expf(y[n]) * sum;
    }
}

/* the gradient of the mean negative log likelihood; not 0 if a target is none of the N classes */
OP int nll_backward(int M, int N, const float *gradient, const int64_t *targets, float *x) {
    for (int i = 0; i < M * N; i++) x[i] = 0;
    for (int m = 0; m < M; m++) {
        if (targets[m] < 0 || targets[m] >= N) return 1;
        x[m * N + targets[m]] = -*gradient / M;
    }
    return 0;
}

/* Kingma and Ba (2015), algorithm 1; with `decoupled`, Loshchilov and Hutter (2019), algorithm 2 */
OP void adam(int n, float *p, const float *g, float *first, float *second, float step, double lr,
             double beta1, double beta2, double decay, double eps, int decoupled) {
    const double root = sqrt(1 - pow(beta2, step));
    const float b1 = 1 - beta1, b2 = beta2, c2 = 1 - beta2;
    /* size * mean / (sqrt(square) / root + eps), with one division a weight less */
    const float size = lr / (1 - pow(beta1, step)) * root, least = eps * root;
    const float shrunk = 1 - lr * decay, added = decay;
    for (int i = 0; i < n; i++) {
        float gradient = g[i], value = p[i];
        if (decay != 0 && decoupled) value *= shrunk;
        if (decay != 0 && !decoupled) gradient += added * value;
        float mean = first[i] + b1 * (gradient - first[i]);
        float square = b2 * second[i] + c2 * gradient * gradient;
        first[i] = mean;
        second[i] = square;
        p[i] = value - size * mean / (sqrtf(square) + least);
    }
}
