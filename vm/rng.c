/* SPDX-License-Identifier: MIT */
/* Random bytes from the kernel's generator or a file, never waiting. */
#include "vm/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"

typedef struct Rng {
    Object obj;
    char *filename;
    int fd;                   /* -1: getrandom(2) */
} Rng;

size_t rng_read(Object *obj, void *buf, size_t len)
{
    const Rng *rng = (const Rng *)(void *)obj;
    ssize_t n = rng->fd < 0 ? getrandom(buf, len, GRND_NONBLOCK) : read(rng->fd, buf, len);

    return n < 0 ? 0 : (size_t)n;
}

static void init(Object *obj)
{
    ((Rng *)(void *)obj)->fd = -1;
}

static bool complete(Object *obj, GError **error)
{
    Rng *rng = (Rng *)(void *)obj;

    if (rng->filename) {
        rng->fd = open(rng->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (rng->fd < 0) {
            return error_set_errno(error, errno, "Could not open '%s' for random bytes",
                                   rng->filename);
        }
    }
    return true;
}

static void finalize(Object *obj)
{
    const Rng *rng = (const Rng *)(void *)obj;

    if (rng->fd >= 0) {
        close(rng->fd);
    }
}

static const PropDef random_props[] = {
    PROP_STR("filename", Rng, filename, .def_str = "/dev/urandom",
             .help = "the file to read from"),
    PROP_END
};

OBJECT_TYPE(rng_backend, .name = "rng-backend", .abstract = true, .size = sizeof(Rng),
            .init = init, .complete = complete, .finalize = finalize);
OBJECT_TYPE(rng_builtin, .name = "rng-builtin", .parent = "rng-backend");
OBJECT_TYPE(rng_random, .name = "rng-random", .parent = "rng-backend", .props = random_props);
