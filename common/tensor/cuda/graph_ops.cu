/// CUDA graphs: a recorded sequence of kernels that one call starts. A decoding step has some
/// hundred small kernels, and starting them one by one takes longer than running them
/// (rollout/device_pass.c uses graphs for that).
///
/// A graph keeps the addresses that its kernels were given. Tensors of the arena keep theirs
/// (tr_arena_generation); scratch memory may have moved, which `moves` tells.
#include <cstdlib>

#include "common/tensor/cuda/cuda.h"

struct tr_graph {
    cudaGraphExec_t graph;
    size_t moves; // the queue's `moves` when this was recorded
};

void cuda_graph_begin(tr_queue_t *queue)
{
    // ThreadLocal: other threads of the process may go on calling CUDA while this one records.
    cuda_check(queue, cudaStreamBeginCapture(queue->stream, cudaStreamCaptureModeThreadLocal),
               "beginning a graph");
}

tr_graph_t *cuda_graph_end(tr_queue_t *queue)
{
    cudaGraph_t captured = NULL;
    cudaGraphExec_t graph = NULL;
    cuda_check(queue, cudaStreamEndCapture(queue->stream, &captured), "ending a graph");
    // The executable graph is independent of the captured one.
    if (captured != NULL) {
        cuda_check(queue, cudaGraphInstantiate(&graph, captured, 0), "making a graph");
        (void)cudaGraphDestroy(captured);
    }
    if (queue->failed.status != TR_OK || graph == NULL) {
        return NULL;
    }
    tr_graph_t *self = static_cast<tr_graph_t *>(tr_alloc(sizeof *self));
    *self = {graph, queue->moves};
    return self;
}

bool cuda_graph_run(tr_queue_t *queue, const tr_graph_t *graph)
{
    // The kernels would write to scratch memory that has been freed.
    if (graph->moves != queue->moves) {
        return false;
    }
    cuda_check(queue, cudaGraphLaunch(graph->graph, queue->stream), "running a graph");
    return true;
}

void cuda_graph_destroy(tr_graph_t **graph)
{
    if (*graph != NULL) {
        (void)cudaGraphExecDestroy((*graph)->graph);
        free(*graph);
        *graph = NULL;
    }
}
