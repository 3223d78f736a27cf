/// Weights from the actor to the readers on one host: two shared-memory segments, used in turn.
///
/// The publisher (the actor) owns both segments, allocated and touched once. Publishing version n
/// fills the segment that does not hold n-1, so readers of n-1 are undisturbed; n+1 overwrites n-1.
/// Hence the controller lets the actor publish n+1 only when every reader has taken n. Each segment
/// has a header: version, bytes, XXH3-64 checksum of the bytes, and a sequence number that is odd
/// while it is filled. A reader that finds another version, size or checksum, or a sequence that
/// moved, gets an error, never data.
///
/// The bytes are an opaque vector; by convention the model's parameters in layout order. A
/// description (tr_weights_describe) travels in request bodies; the weights never do. Readers on
/// other machines get the bytes of the segments from weights_server.h, readers on the actor's GPU
/// by weights_gpu.h.
#ifndef TR_PROTO_WEIGHTS_H
#define TR_PROTO_WEIGHTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

/// The checksum of weights that nobody publishes: those of a worker's own model directory, which
/// never change.
#define TR_WEIGHTS_FROZEN "frozen"

typedef struct tr_weights_publisher tr_weights_publisher_t;
typedef struct tr_weights_reader tr_weights_reader_t;

/// Writes the `bytes` bytes at data. A failure leaves the version unpublished.
typedef tr_status (*tr_weights_fill_fn)(void *context, void *data, size_t bytes, tr_error_t *err);

/// Allocates two segments of `bytes` bytes named after prefix (letters, digits, '-') and this
/// process, readable by this user alone. Segments of the same prefix whose publisher died are
/// removed first. TR_ERR_MEMORY when /dev/shm is too small, with its free space.
tr_status tr_weights_publisher_new(tr_weights_publisher_t **publisher, size_t bytes,
                                   const char *prefix, tr_error_t *err);
/// Unlinks the segments; readers that have them mapped keep them.
void tr_weights_publisher_destroy(tr_weights_publisher_t **publisher);

/// Removes the segments of the prefix whose publisher was killed. They would fill /dev/shm until
/// the machine restarts.
void tr_weights_forget(const char *prefix);

/// Publishes what fill writes, straight into the segment, as `version`. *checksum: XXH3-64, for the
/// log.
tr_status tr_weights_publish(uint64_t *checksum, tr_weights_publisher_t *publisher,
                             uint64_t version, tr_weights_fill_fn fill, void *context,
                             tr_error_t *err);

/// The version published last, for a message to its readers: {"transport": "shm", "version",
/// "bytes", "checksum": 16 hex digits, "segments": [name, name], "slot": 0|1, "place"}; a new
/// reference. place: identifies the shared memory of this machine or container.
json_t *tr_weights_describe(const tr_weights_publisher_t *publisher);

/// Copies bytes [offset, offset + bytes) of a version to out, from any thread of the publisher's
/// process. TR_ERR_VERSION when no segment holds it (any more), TR_ERR_ARGUMENT past the end.
tr_status tr_weights_copy(void *out, const tr_weights_publisher_t *publisher, uint64_t version,
                          size_t offset, size_t bytes, tr_error_t *err);

/// Whether the description's segments are in the shared memory that this process sees.
bool tr_weights_here(const json_t *description);

/// A reader maps segments when a description first names them and keeps them mapped.
tr_weights_reader_t *tr_weights_reader_new(void);
void tr_weights_reader_destroy(tr_weights_reader_t **reader);

/// TR_ERR_VERSION unless a description, of any transport, is of weights of `bytes` bytes.
tr_status tr_weights_expect_bytes(const json_t *description, size_t bytes, tr_error_t *err);

/// The `bytes` bytes of the version that the description names: *data, 64-byte aligned, read-only,
/// valid until the next call with this reader. All of it is checked against the checksum.
/// TR_ERR_VERSION for another version or weights of another size, TR_ERR_FORMAT for another
/// checksum or a torn read, TR_ERR_PROTOCOL for a bad description, TR_ERR_PEER when the segments
/// are gone.
tr_status tr_weights_map(const void **data, size_t bytes, tr_weights_reader_t *reader,
                         const json_t *description, tr_error_t *err);

/// Whether the bytes of the last map have not changed since; for callers that have copied or packed
/// them.
tr_status tr_weights_check(const tr_weights_reader_t *reader, tr_error_t *err);

#endif
