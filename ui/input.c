/* SPDX-License-Identifier: MIT */
/*
 * Routing of input events to devices; see the header.
 * The router is a child object of /backend, so every VM has its own and nothing is global.
 * Locking: machine lock.
 */
#include "ui/input.h"

#include <gio/gio.h>

#define KEY_QUEUE_MAX 1024

struct InputHandler {
    struct InputRouter *router;
    const InputHandlerOps *ops;
    void *opaque;
    unsigned index;
    bool touched;             /* got an event of the open group */
};

typedef struct InputHookEntry {
    InputHook *fn;
    void *opaque;
} InputHookEntry;

/* One step of queued typing: a key change, or (key == INPUT_KEYS) a pause. */
typedef struct KeyStep {
    InputKey key;
    bool down;
    unsigned pause_ms;
} KeyStep;

typedef struct InputRouter {
    Object obj;
    Vm *vm;
    GPtrArray *handlers;      /* InputHandler *, by preference */
    GArray *mode_hooks, *led_hooks;
    GQueue steps;             /* KeyStep * */
    Timer step_timer;
    unsigned next_index;
    unsigned leds;
    bool absolute;            /* as last told to the hooks */
    bool key_down[INPUT_KEYS];
    bool button_down[INPUT_BUTTONS];
} InputRouter;

/* ---- the router object ---- */

static void input_router_init(Object *obj)
{
    InputRouter *r = (InputRouter *)(void *)obj;

    r->handlers = g_ptr_array_new_with_free_func(g_free);
    r->mode_hooks = g_array_new(FALSE, FALSE, sizeof(InputHookEntry));
    r->led_hooks = g_array_new(FALSE, FALSE, sizeof(InputHookEntry));
    g_queue_init(&r->steps);
}

static void input_router_finalize(Object *obj)
{
    InputRouter *r = (InputRouter *)(void *)obj;

    if (timer_pending(&r->step_timer)) {
        timer_cancel(&r->step_timer);
    }
    g_queue_clear_full(&r->steps, g_free);
    g_ptr_array_unref(r->handlers);
    g_array_unref(r->mode_hooks);
    g_array_unref(r->led_hooks);
}

OBJECT_TYPE(input_router, .name = "rhea-input-router", .size = sizeof(InputRouter),
            .desc = "routes input events to devices", .init = input_router_init,
            .finalize = input_router_finalize);

static void step_fire(void *opaque);

static InputRouter *router_of(Vm *vm)
{
    InputRouter *r = (InputRouter *)(void *)object_child(vm->backend, "input");

    if (!r) {
        r = (InputRouter *)(void *)object_new_known(&input_router_type);
        r->vm = vm;
        timer_init(&r->step_timer, vm->clock, step_fire, r);
        object_add_child(vm->backend, "input", &r->obj);
        object_unref(&r->obj);
    }
    return r;
}

static void hooks_add(GArray *hooks, InputHook *fn, void *opaque)
{
    InputHookEntry entry = { fn, opaque };

    g_array_append_val(hooks, entry);
}

static void hooks_call(GArray *hooks)
{
    for (unsigned i = 0; i < hooks->len; i++) {
        const InputHookEntry *entry = &g_array_index(hooks, InputHookEntry, i);

        entry->fn(entry->opaque);
    }
}

/* ---- handlers ---- */

static InputHandler *find_handler(InputRouter *r, unsigned mask)
{
    for (unsigned i = 0; i < r->handlers->len; i++) {
        InputHandler *handler = g_ptr_array_index(r->handlers, i);

        if (handler->ops->mask & mask) {
            return handler;
        }
    }
    return NULL;
}

static void check_mode(InputRouter *r)
{
    InputHandler *pointer = find_handler(r, BIT(INPUT_REL) | BIT(INPUT_ABS));
    bool absolute = pointer && (pointer->ops->mask & BIT(INPUT_ABS));

    if (absolute != r->absolute) {
        r->absolute = absolute;
        hooks_call(r->mode_hooks);
    }
}

InputHandler *input_handler_add(Vm *vm, const InputHandlerOps *ops, void *opaque)
{
    InputRouter *r = router_of(vm);
    InputHandler *handler = g_new0(InputHandler, 1);

    handler->router = r;
    handler->ops = ops;
    handler->opaque = opaque;
    handler->index = r->next_index++;
    g_ptr_array_add(r->handlers, handler);
    check_mode(r);
    return handler;
}

void input_handler_remove(InputHandler *handler)
{
    InputRouter *r = handler->router;

    g_ptr_array_remove(r->handlers, handler);
    check_mode(r);
}

/* Moves HANDLER to POSITION without freeing it. */
void input_handler_activate(InputHandler *handler)
{
    GPtrArray *list = handler->router->handlers;
    guint at;
    bool found = g_ptr_array_find(list, handler, &at);

    g_assert(found);
    g_ptr_array_steal_index(list, at);
    g_ptr_array_insert(list, 0, handler);
    check_mode(handler->router);
}

void input_set_leds(Vm *vm, unsigned leds)
{
    InputRouter *r = router_of(vm);

    if (leds != r->leds) {
        r->leds = leds;
        hooks_call(r->led_hooks);
    }
}

unsigned input_leds(Vm *vm)
{
    return router_of(vm)->leds;
}

void input_foreach_handler(Vm *vm, void (*fn)(const InputHandlerInfo *info, void *opaque),
                           void *opaque)
{
    InputRouter *r = router_of(vm);
    InputHandler *pointer = find_handler(r, BIT(INPUT_REL) | BIT(INPUT_ABS));

    for (unsigned i = 0; i < r->handlers->len; i++) {
        InputHandler *handler = g_ptr_array_index(r->handlers, i);
        InputHandlerInfo info = { .name = handler->ops->name, .index = handler->index,
                                  .mask = handler->ops->mask, .current = handler == pointer };

        fn(&info, opaque);
    }
}

/* ---- sending ---- */

static bool *down_state(InputRouter *r, const InputEvent *event)
{
    switch (event->kind) {
    case INPUT_KEY:
        return event->key < INPUT_KEYS ? &r->key_down[event->key] : NULL;
    case INPUT_BTN:
        return event->button < INPUT_BUTTONS ? &r->button_down[event->button] : NULL;
    default:
        return NULL;
    }
}

void input_send(Vm *vm, const InputEvent *event)
{
    InputRouter *r = router_of(vm);
    InputHandler *handler = find_handler(r, BIT(event->kind));
    bool *down = down_state(r, event);
    bool release = down && *down && !event->down;

    if (!release && !vm_is_running(vm) && vm->state != RUN_STATE_SUSPENDED) {
        return;
    }
    if (down) {
        *down = event->down;
    }
    if (handler) {
        handler->touched = true;
        handler->ops->event(handler->opaque, event);
    }
}

void input_sync(Vm *vm)
{
    InputRouter *r = router_of(vm);

    for (unsigned i = 0; i < r->handlers->len; i++) {
        InputHandler *handler = g_ptr_array_index(r->handlers, i);

        if (handler->touched) {
            handler->touched = false;
            if (handler->ops->sync) {
                handler->ops->sync(handler->opaque);
            }
        }
    }
}

void input_send_key(Vm *vm, InputKey key, bool down)
{
    input_send(vm, &(InputEvent){ .kind = INPUT_KEY, .key = key, .down = down });
}

void input_send_button(Vm *vm, InputButton button, bool down)
{
    input_send(vm, &(InputEvent){ .kind = INPUT_BTN, .button = button, .down = down });
}

void input_send_rel(Vm *vm, InputAxis axis, int value)
{
    input_send(vm, &(InputEvent){ .kind = INPUT_REL, .axis = axis, .value = value });
}

void input_send_abs(Vm *vm, InputAxis axis, int value, int size)
{
    int scaled = 0;

    if (size > 1) {
        scaled = (int64_t)CLAMP(value, 0, size - 1) * INPUT_ABS_MAX / (size - 1);
    }
    input_send(vm, &(InputEvent){ .kind = INPUT_ABS, .axis = axis, .value = scaled });
}

void input_release_all(Vm *vm)
{
    InputRouter *r = router_of(vm);

    for (InputKey key = 0; key < INPUT_KEYS; key++) {
        if (r->key_down[key]) {
            input_send_key(vm, key, false);
        }
    }
    for (InputButton button = 0; button < INPUT_BUTTONS; button++) {
        if (r->button_down[button]) {
            input_send_button(vm, button, false);
        }
    }
    input_sync(vm);
}

/* ---- queued typing ---- */

/* Does the steps up to and including the next pause. */
static void step_fire(void *opaque)
{
    InputRouter *r = opaque;

    while (!g_queue_is_empty(&r->steps)) {
        g_autofree KeyStep *step = g_queue_pop_head(&r->steps);

        if (step->key == INPUT_KEYS) {
            timer_set(&r->step_timer, clock_now(r->vm->clock) + step->pause_ms * 1000000ll);
            return;
        }
        input_send_key(r->vm, step->key, step->down);
        input_sync(r->vm);
    }
}

static void step_add(InputRouter *r, InputKey key, bool down, unsigned pause_ms)
{
    KeyStep *step = g_new(KeyStep, 1);

    *step = (KeyStep){ key, down, pause_ms };
    g_queue_push_tail(&r->steps, step);
}

bool input_queue_keys(Vm *vm, const InputKey *keys, unsigned count, unsigned hold_ms,
                      GError **error)
{
    InputRouter *r = router_of(vm);
    unsigned waiting = g_queue_get_length(&r->steps);

    if (count > KEY_QUEUE_MAX / 2 - 1 || waiting + 2 * count + 2 > KEY_QUEUE_MAX) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                    "Cannot queue %u keys: %u of %u steps already wait", count, waiting,
                    KEY_QUEUE_MAX);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        step_add(r, keys[i], true, 0);
    }
    step_add(r, INPUT_KEYS, false, hold_ms);
    for (unsigned i = count; i-- > 0;) {
        step_add(r, keys[i], false, 0);
    }
    step_add(r, INPUT_KEYS, false, hold_ms);
    if (!timer_pending(&r->step_timer)) {
        step_fire(r);
    }
    return true;
}

/* ---- questions ---- */

bool input_is_absolute(Vm *vm)
{
    return router_of(vm)->absolute;
}

bool input_has_handler(Vm *vm, InputKind kind)
{
    return find_handler(router_of(vm), BIT(kind)) != NULL;
}

void input_add_mode_hook(Vm *vm, InputHook *fn, void *opaque)
{
    hooks_add(router_of(vm)->mode_hooks, fn, opaque);
}

void input_add_led_hook(Vm *vm, InputHook *fn, void *opaque)
{
    hooks_add(router_of(vm)->led_hooks, fn, opaque);
}

/* ---- keys ---- */

static const struct KeyRow {
    const char *name;
    uint16_t set1, set2;
} key_rows[INPUT_KEYS] = {
#define KEY(id, n, s1, s2) [INPUT_KEY_##id] = { n, s1, s2 },
#include "ui/keys.def"
#undef KEY
};

InputKey input_key_from_name(const char *name)
{
    for (InputKey key = 0; key < INPUT_KEYS; key++) {
        if (strcmp(key_rows[key].name, name) == 0) {
            return key;
        }
    }
    return INPUT_KEYS;
}

InputKey input_key_from_number(unsigned number)
{
    unsigned code = number & 0x80 ? 0xe000 | (number & 0x7f) : number;

    if (number == 0xe11d || number == 0xc6) {
        return INPUT_KEY_PAUSE;
    }
    if (number == 0 || number > 0xff) {
        return INPUT_KEY_UNMAPPED;
    }
    for (InputKey key = 0; key < INPUT_KEYS; key++) {
        if (key_rows[key].set1 == code) {
            return key;
        }
    }
    return INPUT_KEY_UNMAPPED;
}

unsigned input_key_set1(InputKey key)
{
    return key < INPUT_KEYS ? key_rows[key].set1 : 0;
}

unsigned input_key_set2(InputKey key)
{
    return key < INPUT_KEYS ? key_rows[key].set2 : 0;
}
