/// The emulator's machine: fibers for a block's threads, streams that run at once or keep captured
/// work, memory with a guard page behind it, handles of memory that other processes can map.
/// cuda_runtime.h says what it can show and what not.
///
/// Threads of a block are fibers of one system thread, so a kernel needs no locks and its schedule
/// is always the same: thread 0 runs to its first barrier, then thread 1, and so on. A race between
/// barriers therefore gives one fixed result here.
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{

enum {
    STACK = 256 << 10,   // bytes of a thread's stack
    MOST_THREADS = 1024, // of a block, as on every GPU
    LANES = 32,
    SHARED = 228 << 10, // bytes of shared memory, as an H100 has
    PAGE = 4096
};

[[noreturn]] void die(const char *what)
{
    fprintf(stderr, "CUDA emulator: %s (block %u,%u,%u)\n", what, blockIdx.x, blockIdx.y,
            blockIdx.z);
    abort();
}

// Fibers. On x86-64 a switch saves the registers that the calling convention preserves; elsewhere
// ucontext does it, slower, because it also saves the signal mask by a system call.

#if defined(__x86_64__)
extern "C" void emulator_switch(void **save, void *load);
asm(".text\n.globl emulator_switch\n.hidden emulator_switch\nemulator_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
typedef void *context_t;
void switch_fiber(context_t *from, context_t *to)
{
    emulator_switch(from, *to);
}
void begin(context_t *context, char *stack, void (*entry)(void))
{
    void **top = (void **)(stack + STACK);
    *--top = nullptr;       // alignment: entry finds the stack as after a call
    *--top = (void *)entry; // the address that `ret` takes
    for (int i = 0; i < 6; i++) {
        *--top = nullptr;
    }
    *context = top;
}
#else
typedef ucontext_t context_t;
void switch_fiber(context_t *from, context_t *to)
{
    swapcontext(from, to);
}
void begin(context_t *context, char *stack, void (*entry)(void))
{
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
}
#endif

/// A barrier: `generation` grows each time when all members have arrived.
struct barrier {
    unsigned members, arrived, generation;
};

struct fiber {
    context_t context;
    char *stack;
    dim3 index;
    bool done;
    barrier *waits; // NULL, or the barrier that it waits for to leave `generation`
    unsigned generation;
};

fiber fibers[MOST_THREADS];
unsigned count, current;
context_t scheduler;
barrier block_barrier, warp_barriers[MOST_THREADS / LANES];
unsigned slots[MOST_THREADS];
alignas(128) char shared[SHARED];
size_t shared_bytes; // the part that the launch asked for
const std::function<void()> *work;

void entry()
{
    (*work)();
    fibers[current].done = true;
    switch_fiber(&fibers[current].context, &scheduler);
    die("a finished thread was resumed");
}

/// The last thread to arrive goes on; the others return to the scheduler.
void wait(barrier *b)
{
    fiber *f = &fibers[current];
    if (++b->arrived == b->members) {
        b->arrived = 0;
        b->generation++;
        return;
    }
    f->waits = b;
    f->generation = b->generation;
    switch_fiber(&f->context, &scheduler);
}

bool ready(const fiber *f)
{
    return !f->done && (f->waits == nullptr || f->waits->generation != f->generation);
}

/// Runs one block: switches to each thread that is ready until all are done.
void run_block()
{
    // NaNs: a kernel that reads shared memory before writing it is found out.
    memset(shared, 0xff, sizeof shared);
    block_barrier = {count, 0, 0};
    for (unsigned w = 0; w * LANES < count; w++) {
        unsigned left = count - w * LANES;
        warp_barriers[w] = {left < LANES ? left : (unsigned)LANES, 0, 0};
    }
    for (unsigned i = 0; i < count; i++) {
        fiber *f = &fibers[i];
        if (f->stack == nullptr) {
            f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        }
        f->done = false;
        f->waits = nullptr;
        f->index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y));
        begin(&f->context, f->stack, entry);
    }
    for (unsigned left = count; left > 0;) {
        bool moved = false;
        for (unsigned i = 0; i < count; i++) {
            fiber *f = &fibers[i];
            if (!ready(f)) {
                continue;
            }
            moved = true;
            f->waits = nullptr;
            current = i;
            threadIdx = f->index;
            switch_fiber(&scheduler, &f->context);
            left -= f->done;
        }
        if (!moved) {
            die("a barrier that some thread never reaches");
        }
    }
    for (size_t i = shared_bytes; i < sizeof shared; i++) {
        if (shared[i] != (char)0xff) {
            die("shared memory that the launch did not ask for was written");
        }
    }
}

} // namespace

void __syncthreads(void)
{
    wait(&block_barrier);
}

void __syncwarp(unsigned)
{
    wait(&warp_barriers[current / LANES]);
}

unsigned emulator_lane(void)
{
    return current % LANES;
}

/// Two barriers: all have written before one reads, and all have read before one writes again.
unsigned emulator_exchange(unsigned bits, unsigned lane)
{
    slots[current] = bits;
    __syncwarp();
    unsigned result = slots[current / LANES * LANES + lane];
    __syncwarp();
    return result;
}

void *emulator_shared(void)
{
    return shared;
}

void emulator_run(dim3 grid, dim3 block, size_t bytes, const std::function<void()> &thread)
{
    gridDim = grid;
    blockDim = block;
    count = block.x * block.y * block.z;
    work = &thread;
    shared_bytes = bytes;
    if (count == 0 || count > MOST_THREADS || bytes > SHARED || grid.x == 0 || grid.y == 0 ||
        grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
        die("a launch that no GPU takes: too many threads or too much shared memory, or an empty "
            "grid");
    }
    for (unsigned z = 0; z < grid.z; z++) {
        for (unsigned y = 0; y < grid.y; y++) {
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                run_block();
            }
        }
    }
}

// Streams, graphs, events

struct emulator_graph {
    std::vector<std::function<void()>> works;
};
struct emulator_stream {
    emulator_graph *capture;
};
struct emulator_event {
    int unused;
};

static cudaError_t last = cudaSuccess;

static cudaError_t result(cudaError_t error)
{
    if (error != cudaSuccess) {
        last = error;
    }
    return error;
}

cudaError_t emulator_enqueue(cudaStream_t stream, std::function<void()> item)
{
    if (stream != nullptr && stream->capture != nullptr) {
        stream->capture->works.push_back(item);
    } else {
        item();
    }
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    default: return "invalid argument";
    }
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last;
    last = cudaSuccess;
    return error;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new emulator_stream{nullptr};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return result(stream != nullptr && stream->capture != nullptr ? cudaErrorInvalidValue
                                                                  : cudaSuccess);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    stream->capture = new emulator_graph;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = stream->capture;
    stream->capture = nullptr;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new emulator_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    for (const auto &item : exec->works) {
        item();
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new emulator_event{0};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    *ms = 1.0f;
    return cudaSuccess;
}

// The device and its memory

struct block {
    size_t mapped;
    size_t bytes;
    int file;
};
static std::map<char *, block> blocks; // by address of the mapping
static std::map<char *, size_t> opened;

/// The number in an environment variable, EMULATED_GPUS or EMULATED_GPU_MEMORY (bytes), or
/// `otherwise`.
static long setting(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text != nullptr ? atol(text) : otherwise;
}

cudaError_t cudaGetDeviceCount(int *devices)
{
    *devices = (int)setting("EMULATED_GPUS", 1);
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "emulated GPU %d", device);
    properties->totalGlobalMem = (size_t)setting("EMULATED_GPU_MEMORY", 4L << 30);
    properties->major = 9;
    properties->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrMultiProcessorCount ? 4 : SHARED - 1024;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device)
{
    snprintf(id, (size_t)length, "emulated:%d", device);
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return result(device < setting("EMULATED_GPUS", 1) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceSynchronize(void)
{
    return cudaSuccess;
}

static size_t used_bytes()
{
    size_t used = 0;
    for (const auto &entry : blocks) {
        used += entry.second.bytes;
    }
    return used;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    *total = (size_t)setting("EMULATED_GPU_MEMORY", 4L << 30);
    *free = *total - used_bytes();
    return cudaSuccess;
}

/// The allocation ends at the guard page, so that reading past it ends the process. The content is
/// all ones, which is a NaN in every type. A file without a name holds it, so that another process
/// can map it.
cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    size_t free, total;
    cudaMemGetInfo(&free, &total);
    if (bytes > free) {
        return result(cudaErrorMemoryAllocation);
    }
    size_t room = (bytes + PAGE - 1) / PAGE * PAGE;
    int file = memfd_create("emulated-gpu", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)room) != 0) {
        return result(cudaErrorMemoryAllocation);
    }
    char *base = (char *)mmap(nullptr, room + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap(base, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    memset(base, 0xff, room);
    size_t start = (room - bytes) / 256 * 256; // as cudaMalloc aligns
    blocks[base] = {room + PAGE, bytes, file};
    *pointer = base + start;
    return cudaSuccess;
}

static std::map<char *, block>::iterator block_of(void *pointer)
{
    auto it = blocks.upper_bound((char *)pointer);
    if (it == blocks.begin()) {
        die("memory that was not allocated is freed or shared");
    }
    return --it;
}

cudaError_t cudaFree(void *pointer)
{
    if (pointer != nullptr) {
        auto it = block_of(pointer);
        munmap(it->first, it->second.mapped);
        close(it->second.file);
        blocks.erase(it);
    }
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned)
{
    *pointer = malloc(bytes);
    return result(*pointer != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *pointer)
{
    free(pointer);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    return emulator_enqueue(stream, [=] { memmove(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    return emulator_enqueue(stream, [=] { memset(to, value, bytes); });
}

/// A handle of shared memory: the process that has it and its file there, which another process
/// opens through /proc.
struct handle {
    int process, file;
    size_t mapped, offset;
};

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle_out, void *pointer)
{
    auto it = block_of(pointer);
    handle h = {(int)getpid(), it->second.file, it->second.mapped - PAGE,
                (size_t)((char *)pointer - it->first)};
    static_assert(sizeof h <= sizeof *handle_out, "a handle is 64 bytes");
    *handle_out = {};
    memcpy(handle_out, &h, sizeof h);
    return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void **pointer, cudaIpcMemHandle_t handle_in, unsigned)
{
    handle h;
    memcpy(&h, &handle_in, sizeof h);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", h.process, h.file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *base = file < 0 ? MAP_FAILED
                          : mmap(nullptr, h.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) {
        close(file);
    }
    if (base == MAP_FAILED) {
        return result(cudaErrorInvalidValue);
    }
    *pointer = (char *)base + h.offset;
    opened[(char *)*pointer] = h.mapped;
    return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *pointer)
{
    auto it = opened.find((char *)pointer);
    if (it == opened.end()) {
        return result(cudaErrorInvalidValue);
    }
    uintptr_t base = (uintptr_t)pointer / PAGE * PAGE; // the offset is less than a page
    munmap((void *)base, it->second);
    opened.erase(it);
    return cudaSuccess;
}
