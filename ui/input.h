/* SPDX-License-Identifier: MIT */
/*
 * Input: the meeting point of what makes input (windows, VNC, QMP) and what takes it (PS/2, USB,
 * virtio devices).
 *
 * A device adds a handler that says which kinds of events it takes.  An event goes to the first
 * handler that takes its kind; input_handler_activate() moves one to the front (a tablet that a
 * guest driver has just enabled).  Events are grouped: a sender ends a group with
 * input_sync(), which reaches every handler that got part of it.
 *
 *     static const InputHandlerOps ops = { "Toy Keyboard", BIT(INPUT_KEY), toy_event, NULL };
 *     s->input = input_handler_add(dev->vm, &ops, s);
 *     ...
 *     input_send_key(vm, INPUT_KEY_RET, true);
 *     input_sync(vm);
 *
 * Keys are those of QMP's QKeyCode (same names, same order).  Events are dropped while the guest
 * does not run, as QEMU does, except releases of keys that are down.
 *
 * Thread rule: main loop, machine lock held.
 * Ownership: handlers belong to the router of their VM; the device removes its own.
 */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include "vm/vm.h"

typedef enum InputKey {
#define KEY(id, name, set1, set2) INPUT_KEY_##id,
#include "ui/keys.def"
#undef KEY
    INPUT_KEYS
} InputKey;

/* QAPI InputButton, same order. */
typedef enum InputButton {
    INPUT_BUTTON_LEFT, INPUT_BUTTON_MIDDLE, INPUT_BUTTON_RIGHT, INPUT_BUTTON_WHEEL_UP,
    INPUT_BUTTON_WHEEL_DOWN, INPUT_BUTTON_SIDE, INPUT_BUTTON_EXTRA, INPUT_BUTTON_WHEEL_LEFT,
    INPUT_BUTTON_WHEEL_RIGHT, INPUT_BUTTONS
} InputButton;

typedef enum InputAxis { INPUT_AXIS_X, INPUT_AXIS_Y } InputAxis;

/* QAPI InputEventKind. */
typedef enum InputKind { INPUT_KEY, INPUT_BTN, INPUT_REL, INPUT_ABS } InputKind;

/* Absolute positions run from 0 to here on both axes. */
#define INPUT_ABS_MAX 0x7fff

typedef struct InputEvent {
    InputKind kind;
    InputKey key;             /* INPUT_KEY */
    InputButton button;       /* INPUT_BTN */
    bool down;                /* INPUT_KEY, INPUT_BTN */
    InputAxis axis;           /* INPUT_REL, INPUT_ABS */
    int value;                /* steps, or 0..INPUT_ABS_MAX */
} InputEvent;

/* ---- for devices ---- */

typedef struct InputHandler InputHandler;

typedef struct InputHandlerOps {
    const char *name;         /* as query-mice shows it: "QEMU PS/2 Mouse" */
    unsigned mask;            /* BIT(InputKind): what it takes */
    void (*event)(void *opaque, const InputEvent *event);
    void (*sync)(void *opaque);   /* end of a group; may be NULL */
} InputHandlerOps;

/* Goes to the end of the list.  OPS stays the caller's and is constant. */
InputHandler *input_handler_add(Vm *vm, const InputHandlerOps *ops, void *opaque);
void input_handler_remove(InputHandler *handler);
/* To the front of the list; tells the mode hooks when relative/absolute changes. */
void input_handler_activate(InputHandler *handler);

/* Keyboard lights, as the guest set them. */
enum { INPUT_LED_SCROLL = BIT(0), INPUT_LED_NUM = BIT(1), INPUT_LED_CAPS = BIT(2) };
void input_set_leds(Vm *vm, unsigned leds);

/* ---- for senders ---- */

void input_send(Vm *vm, const InputEvent *event);
void input_sync(Vm *vm);
/* Shorthands; the caller ends the group. */
void input_send_key(Vm *vm, InputKey key, bool down);
void input_send_button(Vm *vm, InputButton button, bool down);
void input_send_rel(Vm *vm, InputAxis axis, int value);
/* VALUE lies in 0..SIZE-1 of the sender's window. */
void input_send_abs(Vm *vm, InputAxis axis, int value, int size);
/* Releases every key and button that is down (a window that loses the focus). */
void input_release_all(Vm *vm);
/*
 * Presses KEYS in order and releases them in reverse after HOLD_MS of guest time; further calls
 * queue behind it.  At most 1024 steps wait; false when there is no room (nothing is queued).
 */
bool input_queue_keys(Vm *vm, const InputKey *keys, unsigned count, unsigned hold_ms,
                      GError **error);

/* True when pointer motion should be sent as positions. */
bool input_is_absolute(Vm *vm);
/* Whether anything takes events of that kind. */
bool input_has_handler(Vm *vm, InputKind kind);
typedef void InputHook(void *opaque);
/* Called when input_is_absolute() changes / when the lights change.  Live as long as the VM. */
void input_add_mode_hook(Vm *vm, InputHook *fn, void *opaque);
void input_add_led_hook(Vm *vm, InputHook *fn, void *opaque);
unsigned input_leds(Vm *vm);

/* Handlers in order of preference, for query-mice and mouse_set.  The index is stable. */
typedef struct InputHandlerInfo {
    const char *name;
    unsigned index;
    unsigned mask;
    bool current;             /* gets pointer events now */
} InputHandlerInfo;
void input_foreach_handler(Vm *vm, void (*fn)(const InputHandlerInfo *info, void *opaque),
                           void *opaque);

/* ---- keys ---- */

/* "ret" -> INPUT_KEY_RET; INPUT_KEYS when there is no such key. */
InputKey input_key_from_name(const char *name);
/* QMP's KeyValue number: a set 1 code, with bit 7 set for E0 ones.  INPUT_KEY_UNMAPPED if none. */
InputKey input_key_from_number(unsigned number);
/* Make codes: xx, 0xe0xx, 0xe1xx (Pause); 0: the key does not exist in that set. */
unsigned input_key_set1(InputKey key);
unsigned input_key_set2(InputKey key);

#endif
