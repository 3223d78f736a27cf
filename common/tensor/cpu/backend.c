/// Opening the CPU: the operator table, the choice of instruction set, the team of threads and its
/// scratch memory.
///
/// The one file of the backend that knows all the others. Operators (*_ops.c) check shapes and
/// split work over the team; kernels (the other files) do one thread's share and are compiled once
/// for each instruction set. To follow one operator, read matmul_ops.c and then gemm.c.
#include "common/tensor/backend.h"

#include <stdlib.h>
#include <string.h>
#if defined(CPU_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "common/tensor/cpu/cpu.h"

/// Scratch memory of a dry backend is CPU_NOWHERE, which nobody owns. It has no pool either.
void cpu_close(tr_backend_t *backend)
{
    cpu_backend_t *self = (cpu_backend_t *)backend;
    for (size_t i = 0; i < CPU_SLOT_COUNT && !backend->dry; i++) {
        free(self->scratch[i]);
    }
    tr_pool_destroy(&self->pool);
    free(self);
}

/// buffer_new_host, buffer_export, the graphs and `stream` stay NULL: memory is the host's and
/// operators run at once.
// clang-format off
static const tr_ops_t cpu_ops = {
    .name = "cpu",
#define ROW(name) .name = cpu_##name,
    TR_OPERATORS(ROW)
#undef ROW
    .pack = cpu_pack,
    .packed_count = cpu_packed_count,
};
// clang-format on

#if defined(CPU_X86)
/// The features that add_kernels in CMakeLists.txt compiles for.
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/// Vendors may differ in how the instruction rounds, so it must prove itself.
static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
           cpu_same_pairs(&cpu_kernels_avx512bf16);
}

/// A process asks Linux for the tiles' registers before it uses them.
static bool may_use_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/// Leaf 7 of CPUID, since gcc 12's __builtin_cpu_supports does not know AMX.
static bool has_amx(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & AMX_BF16) != 0 &&
           (d & AMX_TILE) != 0 && may_use_tiles() && cpu_same_pairs(&cpu_kernels_amx);
}
#endif

static bool has_generic(void)
{
    return true;
}

/// Widest first: the first form is taken that is supported and not slower than the next, unless
/// TROUPE_CPU names one.
static const struct {
    const cpu_kernels_t *kernels;
    bool (*supported)(void);
} forms[] = {
#if defined(CPU_X86)
    {&cpu_kernels_amx, has_amx},         {&cpu_kernels_avx512bf16, has_avx512bf16},
    {&cpu_kernels_avx512, has_avx512},   {&cpu_kernels_avx2, has_avx2},
#endif
    {&cpu_kernels_generic, has_generic},
};

/// AMX and AVX512-BF16 differ from AVX-512 in products of bf16 alone, and the latter is quicker on
/// some processors only.
static bool is_taken(size_t form, tr_dtype_t weights)
{
#if defined(CPU_X86)
    const cpu_kernels_t *const kernels = forms[form].kernels;
    if (kernels == &cpu_kernels_amx && weights != TR_BF16) {
        return false;
    }
    if (kernels == &cpu_kernels_avx512bf16) {
        return weights == TR_BF16 && forms[form].supported() &&
               cpu_pairs_are_faster(kernels, &cpu_kernels_avx512);
    }
#endif
    (void)weights;
    return forms[form].supported();
}

/// The environment's TROUPE_CPU is for tests and for comparing speeds; all forms give the same
/// bits.
static tr_status choose(const cpu_kernels_t **kernels, tr_dtype_t weights, tr_error_t *err)
{
    const char *wanted = getenv("TROUPE_CPU");
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (wanted == NULL || wanted[0] == '\0') {
            if (is_taken(i, weights)) {
                *kernels = forms[i].kernels;
                return TR_OK;
            }
        } else if (strcmp(wanted, forms[i].kernels->name) == 0) {
            if (!forms[i].supported()) {
                return tr_fail(
                    err, TR_ERR_UNSUPPORTED,
                    "TROUPE_CPU is '%s', which this CPU does not have; unset it or say 'generic'",
                    wanted);
            }
            *kernels = forms[i].kernels;
            return TR_OK;
        }
    }
    return tr_fail(
        err, TR_ERR_ARGUMENT,
        "TROUPE_CPU is '%s'; expected 'generic', 'avx2', 'avx512', 'avx512bf16' or 'amx'", wanted);
}

tr_status cpu_backend_init(cpu_backend_t *backend, tr_dtype_t weights, size_t threads, bool dry,
                           tr_error_t *err)
{
    TR_TRY(choose(&backend->kernels, weights, err));
    backend->base.ops = &cpu_ops;
    backend->base.real = TR_F32;
    backend->base.weights = weights;
    backend->base.form = backend->kernels->name;
    backend->base.dry = dry;
    // The number of threads decides how much scratch memory operators take, so a dry backend has it
    // too, without the threads.
    backend->threads = threads > 0 ? threads : tr_pool_processors();
    // Never NULL, so that operators need not ask whether they have memory.
    for (size_t i = 0; dry && i < CPU_SLOT_COUNT; i++) {
        backend->scratch[i] = CPU_NOWHERE;
    }
    return TR_OK;
}

tr_status tr_backend_open_cpu(tr_backend_t **backend, tr_dtype_t weights, size_t threads,
                              tr_error_t *err)
{
    cpu_backend_t *self = tr_calloc(1, sizeof *self);
    tr_status status = cpu_backend_init(self, weights, threads, false, err);
    *backend = NULL;
    if (status != TR_OK) {
        free(self);
        return status;
    }
    self->pool = tr_pool_new(self->threads);
    *backend = &self->base;
    return TR_OK;
}

/// Grows by a quarter more than asked, so that slowly growing batches do not allocate at every
/// step. The old content is lost. New memory is zeroed, because kernels load whole vectors and then
/// mask the lanes past a row's end. A dry backend counts as if the largest demand were the last.
void *cpu_scratch(cpu_backend_t *backend, cpu_slot_t slot, size_t bytes)
{
    size_t size = cpu_round_up(bytes + bytes / 4, 4096);
    if (backend->scratch_bytes[slot] < (backend->base.dry ? size : bytes)) {
        backend->base.memory.scratch += size - backend->scratch_bytes[slot];
        backend->scratch_bytes[slot] = size;
        // Counted, and that is all.
        if (backend->base.dry) {
            return backend->scratch[slot];
        }
        free(backend->scratch[slot]);
        void *memory = NULL;
        TR_ASSERT(posix_memalign(&memory, 4096, size) == 0, "no memory for %zu bytes of scratch",
                  size);
        memset(memory, 0, size);
        backend->scratch[slot] = memory;
    }
    return backend->scratch[slot];
}

/// A loop over 0..n-1 that is handed to the pool in pieces.
typedef struct range {
    cpu_range_fn *fn;
    void *context;
    size_t n;
    size_t piece;
} range_t;

static void run_piece(void *context, size_t i, size_t thread)
{
    const range_t *range = context;
    size_t first = i * range->piece;
    size_t left = range->n - first;
    range->fn(range->context, first, left < range->piece ? left : range->piece, thread);
}

/// Four pieces a thread: the pool hands them out as threads become free, so one that the system
/// delays costs a quarter of its share. No result depends on the cut, by the rules of backend.h.
void cpu_for(cpu_backend_t *backend, size_t n, size_t grain, cpu_range_fn *fn, void *context)
{
    // One thread alone gains nothing from pieces.
    size_t most = backend->threads == 1 ? 1 : 4 * backend->threads;
    size_t piece = (n + most - 1) / most;
    piece = piece < grain ? grain : piece;
    if (n == 0 || backend->base.dry) {
        return;
    }
    if (n <= piece) {
        fn(context, 0, n, 0);
        return;
    }
    // The pool counts pieces; the last one may be short (run_piece).
    range_t range = {.fn = fn, .context = context, .n = n, .piece = piece};
    tr_pool_run(backend->pool, (n + piece - 1) / piece, run_piece, &range);
}
