/* SPDX-License-Identifier: MIT */
/* QMP: keys and pointers.  The enums of the schema and of ui/input.h have the same order. */
#include "base/error.h"
#include "qapi/qapi_commands.h"
#include "ui/console.h"
#include "ui/input.h"
#include "vm/vm.h"

#include <inttypes.h>
#include <limits.h>

G_STATIC_ASSERT((int)QAPI_Q_KEY_CODE__COUNT == (int)INPUT_KEYS);
G_STATIC_ASSERT((int)QAPI_INPUT_BUTTON__COUNT == (int)INPUT_BUTTONS);

#define MAX_KEYS 64

/* A number is a PS/2 set 1 code, with 0x80 set for the E0-prefixed ones. */
static bool key_of(const QapiKeyValue *value, InputKey *key, GError **error)
{
    static const uint16_t set1[] = {
#define KEY(id, name, one, two) one,
#include "ui/keys.def"
#undef KEY
    };
    int64_t number;

    if (value->type == QAPI_KEY_VALUE_KIND_QCODE) {
        *key = (InputKey)value->u.qcode->data;
        return true;
    }
    number = value->u.number->data;
    for (unsigned i = 1; i < G_N_ELEMENTS(set1); i++) {
        unsigned code = set1[i] >> 8 == 0xe0 ? (set1[i] & 0x7f) | 0x80 : set1[i];

        if (set1[i] && code == number) {
            *key = (InputKey)i;
            return true;
        }
    }
    return error_set(error, "invalid parameter: 0x%x", (unsigned)number);
}

bool qmp_send_key(QmpCall *call, const QmpSendKeyArgs *args, GError **error)
{
    InputKey keys[MAX_KEYS];

    if (args->keys->len > MAX_KEYS) {
        return error_set(error, "Parameter 'keys' has %u keys; at most %d go together",
                         args->keys->len, MAX_KEYS);
    }
    for (unsigned i = 0; i < args->keys->len; i++) {
        if (!key_of(args->keys->pdata[i], &keys[i], error)) {
            return false;
        }
    }
    if (args->has_hold_time && (args->hold_time < 0 || args->hold_time > 3600000)) {
        return error_set(error, "Parameter 'hold-time' expects 0 to 3600000 ms");
    }
    return input_queue_keys(call->vm, keys, args->keys->len,
                            args->has_hold_time ? (unsigned)args->hold_time : 100, error);
}

static bool convert(const QapiInputEvent *from, InputEvent *to, GError **error)
{
    *to = (InputEvent){ .kind = (InputKind)from->type };
    switch (from->type) {
    case QAPI_INPUT_EVENT_KIND_KEY:
        to->down = from->u.key->data->down;
        return key_of(from->u.key->data->key, &to->key, error);
    case QAPI_INPUT_EVENT_KIND_BTN:
        to->button = (InputButton)from->u.btn->data->button;
        to->down = from->u.btn->data->down;
        return true;
    default: {
        const QapiInputMoveEvent *move = from->u.rel->data;

        if (move->value < INT16_MIN || move->value > INPUT_ABS_MAX) {
            return error_set(error, "Parameter 'value' expects %d to %d", INT16_MIN, INPUT_ABS_MAX);
        }
        to->axis = (InputAxis)move->axis;
        to->value = (int)move->value;
        return true;
    }
    }
}

/* The console HEAD of DEVICE; NULL with an error that tells a bad device from a bad head. */
static Console *find_console(const char *device, int64_t head, GError **error)
{
    Console *con = head >= 0 && head <= UINT_MAX ? console_find(device, (unsigned)head) : NULL;

    if (con) {
        return con;
    }
    if (console_find(device, 0)) {
        error_set(error, "Device %s (head %" PRId64 ") is not bound to a console", device, head);
    } else {
        error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
    }
    return NULL;
}

bool qmp_input_send_event(QmpCall *call, const QmpInputSendEventArgs *args, GError **error)
{
    g_autofree InputEvent *events = g_new(InputEvent, args->events->len + 1);

    /* No handler belongs to one console only: all that a console can be is wrong. */
    if (args->device && !find_console(args->device, args->head, error)) {
        return false;
    }
    if (!vm_is_running(call->vm) && call->vm->state != RUN_STATE_SUSPENDED) {
        return error_set(error, "VM not running");
    }
    for (unsigned i = 0; i < args->events->len; i++) {
        if (!convert(args->events->pdata[i], &events[i], error)) {
            return false;
        }
        if (!input_has_handler(call->vm, events[i].kind)) {
            return error_set(error, "Input handler not found for event type %s",
                             qapi_words_QapiInputEventKind[events[i].kind]);
        }
    }
    for (unsigned i = 0; i < args->events->len; i++) {
        input_send(call->vm, &events[i]);
    }
    input_sync(call->vm);
    return true;
}

static void list_mouse(const InputHandlerInfo *info, void *opaque)
{
    QapiMouseInfo *row;

    if (!(info->mask & (BIT(INPUT_REL) | BIT(INPUT_ABS)))) {
        return;
    }
    row = g_new0(QapiMouseInfo, 1);
    row->name = g_strdup(info->name);
    row->index = info->index;
    row->current = info->current;
    row->absolute = (info->mask & BIT(INPUT_ABS)) != 0;
    g_ptr_array_add(opaque, row);
}

bool qmp_query_mice(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiMouseInfo);
    input_foreach_handler(call->vm, list_mouse, *ret);
    return true;
}

bool qmp_screendump(QmpCall *call, const QmpScreendumpArgs *args, GError **error)
{
    bool png = args->has_format && args->format == QAPI_IMAGE_FORMAT_PNG;
    Console *con;

    if (args->has_head && !args->device) {
        return error_set(error, "'head' must be specified together with 'device'");
    }
    con = args->device ? find_console(args->device, args->head, error) : console_at(0);
    if (args->device && !con) {
        return false;
    }
    if (!con) {
        return error_set(error, "There is no console to take a screendump from.");
    }
    return console_screendump(con, args->filename, png ? SCREENDUMP_PNG : SCREENDUMP_PPM, error);
}
