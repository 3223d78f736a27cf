// Requests are counted in the status message, which PROTOCOL.md describes.
#include "tests/support/open_requests.h"

size_t open_requests(const tr_dispatch_t *dispatch)
{
    json_t *status = tr_dispatch_status(dispatch, 0);
    size_t index, count = 0;
    json_t *entry;
    json_array_foreach(json_object_get(status, "workers"), index, entry)
    {
        count += json_array_size(json_object_get(entry, "outstanding"));
    }
    json_array_foreach(json_object_get(status, "queues"), index, entry)
    {
        count += (size_t)json_integer_value(json_object_get(entry, "depth"));
    }
    json_decref(status);
    return count;
}
