/// NCCL of the emulator: as much of it as common/collective/nccl.c uses, between emulated GPUs.
///
/// Memory of an emulated GPU (../cuda_runtime.h) is its process's, and enqueued work has run; so
/// the calls of a group become messages of MPI, all at once when the group ends, as NCCL starts
/// them. A call that NCCL forbids fails as it does there: another group's name, a rank out of
/// range, an end without a beginning, a root without a result. What this cannot show: speed, the
/// order of NCCL's sums, deadlocks of kernels, and whether a stream orders them.
#ifndef TESTS_GPU_EMULATOR_NCCL_H
#define TESTS_GPU_EMULATOR_NCCL_H

#include <stddef.h>

typedef struct emulator_stream *cudaStream_t;
typedef struct ncclComm *ncclComm_t;
typedef struct {
    char internal[128];
} ncclUniqueId;
typedef enum {
    ncclSuccess = 0,
    ncclSystemError = 2,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5
} ncclResult_t;
typedef enum { ncclChar = 0, ncclFloat = 7 } ncclDataType_t;
typedef enum { ncclSum = 0 } ncclRedOp_t;

const char *ncclGetErrorString(ncclResult_t result);
const char *ncclGetLastError(ncclComm_t communicator);
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *communicator, int ranks, ncclUniqueId id, int rank);
ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t *result);
ncclResult_t ncclCommDestroy(ncclComm_t communicator);
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);
ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int to,
                      ncclComm_t communicator, cudaStream_t stream);
ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int from,
                      ncclComm_t communicator, cudaStream_t stream);
ncclResult_t ncclBroadcast(const void *from, void *into, size_t count, ncclDataType_t type,
                           int root, ncclComm_t communicator, cudaStream_t stream);
ncclResult_t ncclReduce(const void *from, void *into, size_t count, ncclDataType_t type,
                        ncclRedOp_t operation, int root, ncclComm_t communicator,
                        cudaStream_t stream);

#endif
