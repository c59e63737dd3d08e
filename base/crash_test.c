/* SPDX-License-Identifier: MIT */
/* Children that crash, and what they say. */
#include "base/crash.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static volatile int zero;
static char *volatile nowhere = (char *)0x123;
static const uint64_t rip = 0xfff0;

/* In a child that leaves no core: false where a sanitizer has the signals. */
static bool begin(void)
{
    struct rlimit none = { 0, 0 };

    setrlimit(RLIMIT_CORE, &none);
    return crash_init("crash-test");
}

static void *crash_in_thread(void *opaque)
{
    pthread_setname_np(pthread_self(), "CPU 7/test");
    crash_set_guest_rip(&rip);
    *nowhere = 1;
    return NULL;
}

static void crash(const char *how)
{
    pthread_t thread;

    if (!begin()) {
        g_printerr("the signals are taken\n");
        raise(SIGKILL);
    }
    if (*how == 't') {
        pthread_create(&thread, NULL, crash_in_thread, NULL);
        pthread_join(thread, NULL);
    } else if (*how == 'd') {
        zero = 1000 / zero;
    } else if (*how == 'i') {
        __builtin_trap();
    } else {
        raise(SIGBUS);          /* not a fault: it must not return */
    }
    g_printerr("still alive\n");
}

/* "t": a thread with a guest stores to 0x123; "d": division by zero; "i": UD2; "b": SIGBUS from elsewhere. */
static void check(const char *how, const char *said)
{
    if (g_test_subprocess()) {
        crash(how);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr_unmatched("*still alive*");
    g_test_trap_assert_stderr(said);
}

static bool signals_are_free(void)
{
    struct sigaction old;

    if (sigaction(SIGSEGV, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL) {
        return true;
    }
    g_test_skip("a sanitizer has the signals");
    return false;
}

static void test_thread(void)
{
    if (signals_are_free()) {
        check("t", "crash-test: SIGSEGV in thread 'CPU 7/test' at crash-test+0x*, address 0x123, guest RIP 0xfff0\n");
    }
}

static void test_division(void)
{
    if (signals_are_free()) {
        check("d", "crash-test: SIGFPE in thread '*' at crash-test+0x*, address 0x*\n");
    }
}

static void test_illegal(void)
{
    if (signals_are_free()) {
        check("i", "crash-test: SIGILL in thread '*' at crash-test+0x*, address 0x*\n");
    }
}

static void test_from_elsewhere(void)
{
    if (signals_are_free()) {
        check("b", "crash-test: SIGBUS in thread '*' at *\n");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crash/thread", test_thread);
    g_test_add_func("/crash/division", test_division);
    g_test_add_func("/crash/illegal", test_illegal);
    g_test_add_func("/crash/from-elsewhere", test_from_elsewhere);
    return g_test_run();
}
