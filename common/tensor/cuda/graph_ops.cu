/// CUDA graphs: a sequence of kernels that is started by one call.
#include <cstdlib>

#include "common/tensor/cuda/cuda.h"

struct tr_graph {
    cudaGraphExec_t graph;
    size_t moves; // of the queue's scratch memory, when this was made
};

void cuda_graph_begin(tr_queue_t *queue)
{
    cuda_check(queue, cudaStreamBeginCapture(queue->stream, cudaStreamCaptureModeThreadLocal),
               "beginning a graph");
}

tr_graph_t *cuda_graph_end(tr_queue_t *queue)
{
    cudaGraph_t captured = NULL;
    cudaGraphExec_t graph = NULL;
    cuda_check(queue, cudaStreamEndCapture(queue->stream, &captured), "ending a graph");
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
