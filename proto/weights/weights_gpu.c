// The description of weights in the memory of a GPU: written by the actor, read by rollouts.
//
// Separate from weights.c because nothing is copied or checked here: the handle is opened by the
// backend of the reader (tr_model_import_weights), and this is only its JSON form.
#include "proto/weights/weights_gpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "proto/body.h"
#include "proto/weights/weights.h"

/// Bytes of a handle.
enum { HANDLE = sizeof((tr_device_memory_t *)0)->handle };

/// The handle is 64 bytes that CUDA gives to other processes; in hexadecimal digits, since a body
/// holds no binary values.
json_t *tr_weights_gpu_describe(const tr_device_memory_t *memory, uint64_t version, size_t bytes)
{
    char hex[2 * HANDLE + 1], checksum[17];
    // Rollouts take weights anew when the checksum changes, so it must change with the version, and
    // with the process, whose memory may get the same handle.
    const uint64_t salt = version ^ (uint64_t)getpid() << 40;
    for (size_t i = 0; i < HANDLE; i++) {
        snprintf(hex + 2 * i, 3, "%02x", memory->handle[i]);
    }
    snprintf(checksum, sizeof checksum, "%016llx",
             (unsigned long long)XXH3_64bits_withSeed(memory->handle, HANDLE, salt));
    return json_pack("{s:s, s:I, s:I, s:s, s:s, s:s}", "transport", "gpu", "version",
                     (json_int_t)version, "bytes", (json_int_t)bytes, "checksum", checksum,
                     "handle", hex, "place", memory->place);
}

/// False also for what is no description, which the other reader then refuses with a sentence.
bool tr_weights_gpu_is(const json_t *description)
{
    const char *transport = json_string_value(json_object_get(description, "transport"));
    return transport != NULL && strcmp(transport, "gpu") == 0;
}

/// Checks the form alone. Whether the handle opens, and on this machine, is found by the backend.
tr_status tr_weights_gpu_read(tr_device_memory_t *memory, const json_t *description, size_t bytes,
                              tr_error_t *err)
{
    const char *hex, *place;
    TR_TRY(tr_body_string(&hex, description, "handle", "weights", err));
    TR_TRY(tr_body_string(&place, description, "place", "weights", err));
    if (strlen(hex) != 2 * HANDLE || strlen(place) >= sizeof memory->place) {
        return tr_fail(err, TR_ERR_PROTOCOL, "weights: 'handle' or 'place' is no GPU's");
    }
    // Ends the place with a zero byte, too.
    *memory = (tr_device_memory_t){0};
    memcpy(memory->place, place, strlen(place));
    // Before sscanf, which would take spaces and signs for a part of a number.
    if (strspn(hex, "0123456789abcdef") != 2 * HANDLE) {
        return tr_fail(err, TR_ERR_PROTOCOL, "weights: 'handle' is not in hex digits");
    }
    for (size_t i = 0; i < HANDLE; i++) {
        sscanf(hex + 2 * i, "%2hhx", &memory->handle[i]);
    }
    return tr_weights_expect_bytes(description, bytes, err);
}
