/* SPDX-License-Identifier: MIT */
/*
 * The SDL2 window: one a display device.  Module "ui-sdl".
 *
 * Ctrl-Alt-1 to 9 show the consoles there are in a window: display devices, then terminals (ui/vc.c),
 * which take the keys while they are seen; Ctrl and up, down, page up, page down look at earlier
 * lines.  Ctrl-Alt-G takes and gives back keyboard and pointer, Ctrl-Alt-F full screen, Ctrl-Alt-+/-
 * scale, Ctrl-Alt-0 real size; closing the window asks the VM to shut down.  Keys are passed by
 * position (SDL scan codes), so the guest's own keyboard layout decides what they mean.
 * Thread rule: main loop, machine lock held; SDL's events are fetched at each refresh.
 */
#include <SDL.h>

#include "base/error.h"
#include "ui/console.h"
#include "ui/display.h"
#include "ui/input.h"

enum { REFRESH_MS = 16, WINDOWS_MAX = 8 };

typedef struct Window {
    ConsoleListener listener;
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    Surface *surface;         /* borrowed from the console */
    SDL_Rect dirty;           /* empty: nothing to show */
} Window;

static struct {
    Vm *vm;
    DisplayOptions options;
    Window windows[WINDOWS_MAX];
    unsigned count;
    Window *grabbed;
    bool hotkey;              /* a Ctrl-Alt chord was used: swallow until it is released */
} ui;

/* ---- keys by position ---- */

/* clang-format off */
static const struct { SDL_Scancode code; const char *name; } key_names[] = {
    { SDL_SCANCODE_RETURN, "ret" }, { SDL_SCANCODE_ESCAPE, "esc" },
    { SDL_SCANCODE_BACKSPACE, "backspace" }, { SDL_SCANCODE_TAB, "tab" },
    { SDL_SCANCODE_SPACE, "spc" }, { SDL_SCANCODE_MINUS, "minus" },
    { SDL_SCANCODE_EQUALS, "equal" }, { SDL_SCANCODE_LEFTBRACKET, "bracket_left" },
    { SDL_SCANCODE_RIGHTBRACKET, "bracket_right" }, { SDL_SCANCODE_BACKSLASH, "backslash" },
    { SDL_SCANCODE_NONUSHASH, "backslash" }, { SDL_SCANCODE_SEMICOLON, "semicolon" },
    { SDL_SCANCODE_APOSTROPHE, "apostrophe" }, { SDL_SCANCODE_GRAVE, "grave_accent" },
    { SDL_SCANCODE_COMMA, "comma" }, { SDL_SCANCODE_PERIOD, "dot" }, { SDL_SCANCODE_SLASH, "slash" },
    { SDL_SCANCODE_CAPSLOCK, "caps_lock" }, { SDL_SCANCODE_PRINTSCREEN, "print" },
    { SDL_SCANCODE_SCROLLLOCK, "scroll_lock" }, { SDL_SCANCODE_PAUSE, "pause" },
    { SDL_SCANCODE_INSERT, "insert" }, { SDL_SCANCODE_HOME, "home" },
    { SDL_SCANCODE_PAGEUP, "pgup" }, { SDL_SCANCODE_DELETE, "delete" },
    { SDL_SCANCODE_END, "end" }, { SDL_SCANCODE_PAGEDOWN, "pgdn" },
    { SDL_SCANCODE_RIGHT, "right" }, { SDL_SCANCODE_LEFT, "left" },
    { SDL_SCANCODE_DOWN, "down" }, { SDL_SCANCODE_UP, "up" },
    { SDL_SCANCODE_NUMLOCKCLEAR, "num_lock" }, { SDL_SCANCODE_KP_DIVIDE, "kp_divide" },
    { SDL_SCANCODE_KP_MULTIPLY, "kp_multiply" }, { SDL_SCANCODE_KP_MINUS, "kp_subtract" },
    { SDL_SCANCODE_KP_PLUS, "kp_add" }, { SDL_SCANCODE_KP_ENTER, "kp_enter" },
    { SDL_SCANCODE_KP_PERIOD, "kp_decimal" }, { SDL_SCANCODE_NONUSBACKSLASH, "less" },
    { SDL_SCANCODE_APPLICATION, "menu" }, { SDL_SCANCODE_LCTRL, "ctrl" },
    { SDL_SCANCODE_LSHIFT, "shift" }, { SDL_SCANCODE_LALT, "alt" },
    { SDL_SCANCODE_LGUI, "meta_l" }, { SDL_SCANCODE_RCTRL, "ctrl_r" },
    { SDL_SCANCODE_RSHIFT, "shift_r" }, { SDL_SCANCODE_RALT, "alt_r" },
    { SDL_SCANCODE_RGUI, "meta_r" },
};
/* clang-format on */

static InputKey keys[SDL_NUM_SCANCODES];

static void make_key_table(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(key_names); i++) {
        keys[key_names[i].code] = input_key_from_name(key_names[i].name);
    }
    for (unsigned i = 0; i < 26; i++) {
        keys[SDL_SCANCODE_A + i] = input_key_from_name((char[]){ 'a' + i, 0 });
    }
    for (unsigned i = 0; i < 10; i++) {
        char kp[] = { 'k', 'p', '_', '0' + (i + 1) % 10, 0 };

        keys[SDL_SCANCODE_1 + i] = input_key_from_name(kp + 3);
        keys[SDL_SCANCODE_KP_1 + i] = input_key_from_name(kp);
    }
    for (unsigned i = 0; i < 12; i++) {
        g_autofree char *name = g_strdup_printf("f%u", i + 1);

        keys[SDL_SCANCODE_F1 + i] = input_key_from_name(name);
    }
}

/* ---- keys for terminals: what does not come as text ---- */

typedef struct VtKey {
    SDL_Keycode sym;
    const char *bytes;
    int scroll;               /* lines, with Ctrl */
} VtKey;

static const VtKey vt_keys[] = {
    { SDLK_RETURN, "\r", 0 }, { SDLK_KP_ENTER, "\r", 0 }, { SDLK_BACKSPACE, "\177", 0 },
    { SDLK_TAB, "\t", 0 }, { SDLK_ESCAPE, "\033", 0 }, { SDLK_UP, "\033[A", 1 },
    { SDLK_DOWN, "\033[B", -1 }, { SDLK_RIGHT, "\033[C", 0 }, { SDLK_LEFT, "\033[D", 0 },
    { SDLK_HOME, "\033[1~", 0 }, { SDLK_INSERT, "\033[2~", 0 }, { SDLK_DELETE, "\033[3~", 0 },
    { SDLK_END, "\033[4~", 0 }, { SDLK_PAGEUP, "\033[5~", 10 }, { SDLK_PAGEDOWN, "\033[6~", -10 },
};

static void terminal_key(Console *con, const SDL_KeyboardEvent *e)
{
    SDL_Keycode sym = e->keysym.sym;
    bool ctrl = e->keysym.mod & KMOD_CTRL;

    if (e->type != SDL_KEYDOWN) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(vt_keys); i++) {
        if (vt_keys[i].sym != sym) {
            continue;
        }
        if (ctrl && vt_keys[i].scroll) {
            console_scroll(con, vt_keys[i].scroll);
        } else {
            console_input(con, vt_keys[i].bytes, strlen(vt_keys[i].bytes));
        }
        return;
    }
    if (ctrl && sym >= SDLK_a && sym <= SDLK_z) {
        console_input(con, (char[]){ (char)(sym & 0x1f) }, 1);
    }
}

/* ---- windows ---- */

static Window *window_by_id(Uint32 id)
{
    for (unsigned i = 0; i < ui.count; i++) {
        if (SDL_GetWindowID(ui.windows[i].window) == id) {
            return &ui.windows[i];
        }
    }
    return NULL;
}

static void update_title(Window *w)
{
    g_autofree char *title = g_strdup_printf(
        "Rhea%s%s%s%s%s", ui.options.vm_name ? " (" : "", ui.options.vm_name ?: "",
        ui.options.vm_name ? ")" : "", vm_is_running(ui.vm) ? "" : " [Stopped]",
        ui.grabbed == w ? " - Press Ctrl-Alt-G to release grab" : "");

    SDL_SetWindowTitle(w->window, title);
}

static void set_grab(Window *w, bool on)
{
    SDL_SetWindowGrab(w->window, on);
    SDL_SetRelativeMouseMode(on && !input_is_absolute(ui.vm));
    ui.grabbed = on ? w : NULL;
    update_title(w);
}

static void switch_surface(ConsoleListener *l, Surface *surface)
{
    Window *w = container_of(l, Window, listener);

    w->surface = surface;
    if (w->texture) {
        SDL_DestroyTexture(w->texture);
    }
    w->texture = SDL_CreateTexture(w->renderer, SDL_PIXELFORMAT_RGB888,
                                   SDL_TEXTUREACCESS_STREAMING, surface->width, surface->height);
    SDL_RenderSetLogicalSize(w->renderer, surface->width, surface->height);
    if (!(SDL_GetWindowFlags(w->window) & SDL_WINDOW_FULLSCREEN)) {
        SDL_SetWindowSize(w->window, surface->width, surface->height);
    }
    w->dirty = (SDL_Rect){ 0, 0, surface->width, surface->height };
}

static void update(ConsoleListener *l, int x, int y, int width, int height)
{
    Window *w = container_of(l, Window, listener);
    SDL_Rect r = { x, y, width, height };

    if (SDL_RectEmpty(&w->dirty)) {
        w->dirty = r;
    } else {
        SDL_UnionRect(&w->dirty, &r, &w->dirty);
    }
}

static void present(Window *w)
{
    if (!w->texture || SDL_RectEmpty(&w->dirty)) {
        return;
    }
    SDL_UpdateTexture(w->texture, &w->dirty,
                      w->surface->data + (size_t)w->dirty.y * w->surface->stride +
                          w->dirty.x * 4,
                      w->surface->stride);
    SDL_RenderClear(w->renderer);
    SDL_RenderCopy(w->renderer, w->texture, NULL, NULL);
    SDL_RenderPresent(w->renderer);
    w->dirty = (SDL_Rect){ 0 };
}

/* ---- events ---- */

static void scale_window(Window *w, double factor)
{
    int width, height;

    SDL_GetWindowSize(w->window, &width, &height);
    if (factor == 0) {
        width = w->surface->width;
        height = w->surface->height;
    } else {
        width = MAX(width * factor, 160);
        height = MAX(height * factor, 120);
    }
    SDL_SetWindowSize(w->window, width, height);
}

/* Console NUMBER, if there is one, in this window. */
static void show_console(Window *w, unsigned number)
{
    Console *con = console_at(number);

    if (con && con != w->listener.con) {
        if (ui.grabbed == w) {
            set_grab(w, false);
        }
        if (w->listener.con) {
            console_unlisten(&w->listener);
        }
        console_listen(con, &w->listener);
        console_invalidate(con);
    }
}

/* The chord Ctrl-Alt-KEY; true when it was one of ours. */
static bool hotkey(Window *w, SDL_Scancode code)
{
    switch (code) {
    case SDL_SCANCODE_G:
        set_grab(w, ui.grabbed != w);
        return true;
    case SDL_SCANCODE_F: {
        bool full = SDL_GetWindowFlags(w->window) & SDL_WINDOW_FULLSCREEN_DESKTOP;

        SDL_SetWindowFullscreen(w->window, full ? 0 : SDL_WINDOW_FULLSCREEN_DESKTOP);
        set_grab(w, !full);
        return true;
    }
    case SDL_SCANCODE_EQUALS:
    case SDL_SCANCODE_KP_PLUS:
        scale_window(w, 1.25);
        return true;
    case SDL_SCANCODE_MINUS:
    case SDL_SCANCODE_KP_MINUS:
        scale_window(w, 0.8);
        return true;
    case SDL_SCANCODE_0:
        scale_window(w, 0);
        return true;
    case SDL_SCANCODE_1 ... SDL_SCANCODE_9:
        show_console(w, code - SDL_SCANCODE_1);
        return true;
    default:
        return false;
    }
}

static void key_event(Window *w, const SDL_KeyboardEvent *e)
{
    const Uint16 mods = KMOD_CTRL | KMOD_ALT;
    SDL_Scancode code = e->keysym.scancode;
    bool down = e->type == SDL_KEYDOWN;

    if (down && (e->keysym.mod & KMOD_CTRL) && (e->keysym.mod & KMOD_ALT) && !e->repeat &&
        hotkey(w, code)) {
        input_release_all(ui.vm);
        ui.hotkey = true;
        return;
    }
    if (ui.hotkey) {
        ui.hotkey = (SDL_GetModState() & mods) != 0;
        return;
    }
    if (console_is_text(w->listener.con)) {
        terminal_key(w->listener.con, e);
        return;
    }
    if (code < SDL_NUM_SCANCODES && keys[code] && keys[code] < INPUT_KEYS) {
        input_send_key(ui.vm, keys[code], down);
        input_sync(ui.vm);
    }
}

static void text_event(Window *w, const SDL_TextInputEvent *e)
{
    if (console_is_text(w->listener.con) && !ui.hotkey) {
        console_input(w->listener.con, e->text, strlen(e->text));
    }
}

static void motion_event(Window *w, const SDL_MouseMotionEvent *e)
{
    if (console_is_text(w->listener.con)) {
        return;
    }
    if (input_is_absolute(ui.vm)) {
        input_send_abs(ui.vm, INPUT_AXIS_X, CLAMP(e->x, 0, w->surface->width - 1),
                       w->surface->width);
        input_send_abs(ui.vm, INPUT_AXIS_Y, CLAMP(e->y, 0, w->surface->height - 1),
                       w->surface->height);
    } else if (ui.grabbed == w) {
        input_send_rel(ui.vm, INPUT_AXIS_X, e->xrel);
        input_send_rel(ui.vm, INPUT_AXIS_Y, e->yrel);
    }
    input_sync(ui.vm);
}

static void button_event(Window *w, const SDL_MouseButtonEvent *e)
{
    static const InputButton buttons[] = {
        [SDL_BUTTON_LEFT] = INPUT_BUTTON_LEFT, [SDL_BUTTON_MIDDLE] = INPUT_BUTTON_MIDDLE,
        [SDL_BUTTON_RIGHT] = INPUT_BUTTON_RIGHT, [SDL_BUTTON_X1] = INPUT_BUTTON_SIDE,
        [SDL_BUTTON_X2] = INPUT_BUTTON_EXTRA,
    };
    bool down = e->type == SDL_MOUSEBUTTONDOWN;

    if (console_is_text(w->listener.con)) {
        return;
    }
    if (ui.grabbed != w && !input_is_absolute(ui.vm)) {
        if (down && e->button == SDL_BUTTON_LEFT) {
            set_grab(w, true);
        }
        return;
    }
    if (e->button < ARRAY_LEN(buttons) && e->button) {
        input_send_button(ui.vm, buttons[e->button], down);
        input_sync(ui.vm);
    }
}

static void wheel_event(Window *w, const SDL_MouseWheelEvent *e)
{
    InputButton b = e->y > 0 ? INPUT_BUTTON_WHEEL_UP : INPUT_BUTTON_WHEEL_DOWN;

    if (console_is_text(w->listener.con)) {
        console_scroll(w->listener.con, 3 * e->y);
    } else if (e->y) {
        input_send_button(ui.vm, b, true);
        input_sync(ui.vm);
        input_send_button(ui.vm, b, false);
        input_sync(ui.vm);
    }
}

static void window_event(Window *w, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED:
        w->dirty = (SDL_Rect){ 0, 0, w->surface->width, w->surface->height };
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        input_release_all(ui.vm);
        if (ui.grabbed == w) {
            set_grab(w, false);
        }
        break;
    case SDL_WINDOWEVENT_CLOSE:
        if (ui.options.window_close) {
            vm_request_shutdown(ui.vm, SHUTDOWN_CAUSE_HOST_UI);
        }
        break;
    }
}

static void refreshed(ConsoleListener *l)
{
    SDL_Event e;

    while (SDL_PollEvent(&e)) {
        Window *w = window_by_id(e.window.windowID);

        if (!w || !w->listener.con) {
            continue;
        }
        switch (e.type) {
        case SDL_KEYDOWN:
        case SDL_KEYUP:
            key_event(w, &e.key);
            break;
        case SDL_TEXTINPUT:
            text_event(w, &e.text);
            break;
        case SDL_MOUSEMOTION:
            motion_event(w, &e.motion);
            break;
        case SDL_MOUSEBUTTONDOWN:
        case SDL_MOUSEBUTTONUP:
            button_event(w, &e.button);
            break;
        case SDL_MOUSEWHEEL:
            wheel_event(w, &e.wheel);
            break;
        case SDL_WINDOWEVENT:
            window_event(w, &e.window);
            break;
        }
    }
    present(container_of(l, Window, listener));
}

/* The console that was shown has gone: the first one, if any is left. */
static void gone(ConsoleListener *l)
{
    show_console(container_of(l, Window, listener), 0);
}

static void state_changed(void *opaque, bool running, RunState state)
{
    for (unsigned i = 0; i < ui.count; i++) {
        update_title(&ui.windows[i]);
    }
}

/* ---- opening ---- */

static bool open_window(Console *con, GError **error)
{
    Window *w = &ui.windows[ui.count];
    Surface *s = console_surface(con);

    w->window = SDL_CreateWindow("Rhea", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED,
                                 s->width, s->height, SDL_WINDOW_RESIZABLE);
    w->renderer = w->window ? SDL_CreateRenderer(w->window, -1, 0) : NULL;
    if (!w->renderer) {
        return error_set(error, "-display sdl: cannot open a window: %s", SDL_GetError());
    }
    ui.count++;
    w->listener = (ConsoleListener){ .switch_surface = switch_surface, .update = update,
                                     .refreshed = refreshed, .gone = gone, .interval_ms = REFRESH_MS };
    console_listen(con, &w->listener);
    update_title(w);
    if (ui.options.full_screen) {
        SDL_SetWindowFullscreen(w->window, SDL_WINDOW_FULLSCREEN_DESKTOP);
    }
    return true;
}

static bool sdl_open(Vm *vm, const DisplayOptions *options, GError **error)
{
    Console *con;

    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_WINDOWS_NO_CLOSE_ON_ALT_F4, "1");
    if (SDL_Init(SDL_INIT_VIDEO) < 0) {
        return error_set(error, "-display sdl: %s; use -display none or -nographic where there is "
                         "no display", SDL_GetError());
    }
    ui.vm = vm;
    ui.options = *options;
    make_key_table();
    SDL_StartTextInput();
    /* Terminals share the windows of display devices, or have one where there is no such device. */
    for (unsigned i = 0; (con = console_at(i)) && ui.count < WINDOWS_MAX; i++) {
        if ((i == 0 || !console_is_text(con)) && !open_window(con, error)) {
            return false;
        }
    }
    vm_add_state_hook(vm, state_changed, NULL);
    return true;
}

static void sdl_close(void)
{
    for (unsigned i = 0; i < ui.count; i++) {
        if (ui.windows[i].listener.con) {
            console_unlisten(&ui.windows[i].listener);
        }
        SDL_DestroyRenderer(ui.windows[i].renderer);
        SDL_DestroyWindow(ui.windows[i].window);
    }
    ui.count = 0;
    SDL_Quit();
}

static const DisplayKind sdl_kind = { "sdl", sdl_open, sdl_close };

extern const void *rhea_module_entry;
const void *rhea_module_entry = &sdl_kind;
