/// A GPU that is not there: as much of the CUDA runtime as common/tensor/cuda/ uses, on the host.
///
/// The backend's sources compile as C++ against this folder instead of the toolkit's headers, so
/// that every kernel, with its indices, barriers and shuffles, runs and is tested on machines
/// without a GPU. Each CUDA thread is a fiber; a block's threads take turns from barrier to
/// barrier, blocks follow each other. What this cannot show: speed, memory coalescing, data races
/// between barriers, and the arithmetic of tensor cores and cuBLASLt, which are plain sums in f32
/// here. Shared memory starts as NaNs in each block, device memory ends at a page that cannot be
/// touched, and a barrier that some thread of the block never reaches ends the process with a
/// sentence.
#ifndef TESTS_GPU_EMULATOR_CUDA_RUNTIME_H
#define TESTS_GPU_EMULATOR_CUDA_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

// The current thread's indices; set by the emulator whenever it switches threads.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
enum { warpSize = 32 };

void __syncthreads(void);
void __syncwarp(unsigned mask = 0xffffffffu);
/// Hands `bits` to the warp and returns what `lane` handed in.
unsigned emulator_exchange(unsigned bits, unsigned lane);
unsigned emulator_lane(void);
void *emulator_shared(void);

static inline unsigned __float_as_uint(float x)
{
    unsigned b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline float __uint_as_float(unsigned b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline int __float_as_int(float x)
{
    return (int)__float_as_uint(x);
}
static inline float __int_as_float(int b)
{
    return __uint_as_float((unsigned)b);
}
static inline long long __double_as_longlong(double x)
{
    long long b;
    memcpy(&b, &x, sizeof b);
    return b;
}
static inline double __longlong_as_double(long long b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

template <typename T> static inline T emulator_shuffle(T value, unsigned lane)
{
    static_assert(sizeof(T) == 4, "shuffles move 32 bits");
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    bits = emulator_exchange(bits, lane);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <typename T> static inline T __shfl_sync(unsigned, T value, int lane, int width = 32)
{
    unsigned at = emulator_lane();
    return emulator_shuffle(value, at / (unsigned)width * (unsigned)width +
                                       (unsigned)lane % (unsigned)width);
}
template <typename T> static inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32)
{
    return emulator_shuffle(value, emulator_lane() ^ (unsigned)mask);
}
template <typename T> static inline T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32)
{
    unsigned at = emulator_lane();
    return emulator_shuffle(value, at + delta < 32 ? at + delta : at);
}
template <typename T> static inline T __shfl_up_sync(unsigned, T value, unsigned delta, int = 32)
{
    unsigned at = emulator_lane();
    return emulator_shuffle(value, at >= delta ? at - delta : at);
}
static inline unsigned __ballot_sync(unsigned, int predicate)
{
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        result |= (emulator_exchange(predicate != 0, lane) & 1u) << lane;
    }
    return result;
}
template <typename T> static inline T atomicAdd(T *p, T x)
{
    T before = *p;
    *p = before + x;
    return before;
}
template <typename T> static inline T __ldg(const T *p)
{
    return *p;
}
static inline double emulator_min(double a, double b)
{
    return a < b ? a : b;
}
template <typename T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

// The runtime's functions.
typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidDevice = 101
} cudaError_t;
typedef struct emulator_stream *cudaStream_t;
typedef struct emulator_graph *cudaGraph_t;
typedef struct emulator_graph *cudaGraphExec_t;
typedef struct emulator_event *cudaEvent_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4
};
enum {
    cudaStreamNonBlocking = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaIpcMemLazyEnablePeerAccess = 1
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrMultiProcessorCount = 16
};
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};
struct cudaLaunchAttribute {
    int id;
};
typedef struct cudaLaunchConfig_st {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
} cudaLaunchConfig_t;
typedef struct cudaIpcMemHandle_st {
    char reserved[64];
} cudaIpcMemHandle_t;

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaMalloc(void **pointer, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *pointer);
cudaError_t cudaIpcOpenMemHandle(void **pointer, cudaIpcMemHandle_t handle, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void *pointer);

/// Runs the work, or keeps it for later while the stream is being captured.
cudaError_t emulator_enqueue(cudaStream_t stream, std::function<void()> work);
/// Runs `thread` for every thread of every block, one block after the other.
void emulator_run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &thread);

template <typename T> static inline cudaError_t cudaFuncSetAttribute(T *, cudaFuncAttribute, int)
{
    return cudaSuccess;
}

template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                             A &&...arguments)
{
    cudaLaunchConfig_t c = *config;
    std::tuple<P...> kept(static_cast<P>(arguments)...);
    return emulator_enqueue(c.stream, [c, kernel, kept] {
        emulator_run(c.gridDim, c.blockDim, c.dynamicSmemBytes, [&] { std::apply(kernel, kept); });
    });
}

#endif
