/* SPDX-License-Identifier: MIT */
/*
 * Nodes and event loops: which thread serves which part of the graph, how the main loop gets at it,
 * and how nodes move.  The rules and invariants are in block/graph.h.
 * Locking: main loop (or a thread that holds the machine lock), unless marked.
 */
#include "block/graph_int.h"

/* ---- holding ---- */

static GPtrArray *served;              /* loops of nodes, but the main loop; with a reference */
static unsigned waiters;               /* GRAPH_WAIT_WHILE()s that are on */
static Bh *waker;
static __thread unsigned depth;
static __thread GPtrArray *parked;     /* by this thread */

static void park(EventLoop *loop)
{
    if (!parked) {
        parked = g_ptr_array_new();
    }
    if (!g_ptr_array_find(parked, loop, NULL)) {
        g_ptr_array_add(parked, event_loop_ref(loop));
        event_loop_park(loop);
    }
}

static void park_all(void)
{
    /* While we wait for one, others may come. */
    for (unsigned i = 0; served && i < served->len; i++) {
        park(served->pdata[i]);
    }
}

static void unpark_all(void)
{
    while (parked && parked->len) {
        EventLoop *loop = g_ptr_array_remove_index(parked, parked->len - 1);

        event_loop_unpark(loop);
        event_loop_unref(loop);
    }
    g_clear_pointer(&parked, g_ptr_array_unref);
}

static bool on_iothread(void)
{
    return event_loop_current() != event_loop_main();
}

int graph_hold(void)
{
    if (on_iothread()) {
        return 0;
    }
    if (depth++ == 0) {
        park_all();
    }
    return 1;
}

void graph_release(const int *held)
{
    if (*held && --depth == 0) {
        unpark_all();
    }
}

/* ---- waiting ---- */

static void look_again(void *unused)
{
}

int graph_wait_begin(void)
{
    int held = graph_hold();

    if (held && !waker) {
        waker = bh_new(event_loop_main(), look_again, NULL);
    }
    __atomic_add_fetch(&waiters, (unsigned)held, __ATOMIC_SEQ_CST);
    return held;
}

void graph_wait_turn(void)
{
    EventLoop *loop = event_loop_current();
    unsigned outer = depth;

    /* What the main loop calls meanwhile holds for itself. */
    depth = 0;
    unpark_all();
    event_loop_iterate(loop, true);
    depth = outer;
    if (outer) {
        park_all();
    }
}

void graph_wait_end(int held)
{
    __atomic_sub_fetch(&waiters, (unsigned)held, __ATOMIC_SEQ_CST);
    graph_release(&held);
}

void graph_wait_kick(void)
{
    if (__atomic_load_n(&waiters, __ATOMIC_RELAXED) && on_iothread()) {
        bh_schedule(waker);
    }
}

/* ---- coroutines on behalf of the main loop ---- */

typedef struct Run {
    CoroutineFn *fn;
    void *opaque;
    bool done;
} Run;

static void co_run_entry(void *opaque)
{
    Run *run = opaque;

    run->fn(run->opaque);
    run->done = true;
    graph_wait_kick();
}

static void run_here(CoroutineFn *fn, void *opaque)
{
    Run run = { fn, opaque, false };

    if (coroutine_self() && coroutine_home(coroutine_self()) == event_loop_current()) {
        fn(opaque);
        return;
    }
    coroutine_start(co_run_entry, &run);
    GRAPH_WAIT_WHILE(!run.done);
}

void graph_run(BlockNode *node, CoroutineFn *fn, void *opaque)
{
    bool foreign = node ? node->loop != event_loop_current() : served && served->len;

    if (!foreign || on_iothread()) {
        run_here(fn, opaque);
    } else {
        GRAPH_HOLD();

        node_drain_all_begin();
        run_here(fn, opaque);
        node_drain_all_end();
    }
}

static void run_posted(void *opaque)
{
    coroutine_start(co_run_entry, opaque);
}

void graph_run_on(EventLoop *loop, CoroutineFn *fn, void *opaque)
{
    Run run = { fn, opaque, false };

    if (loop == event_loop_current()) {
        run_here(fn, opaque);
    } else {
        GRAPH_HOLD();

        event_loop_post(loop, run_posted, &run);
        GRAPH_WAIT_WHILE(!run.done);
    }
}

/* ---- moving ---- */

void graph_node_set_loop(BlockNode *node, EventLoop *loop)
{
    EventLoop *old = node->loop, *home = event_loop_main();

    if (loop == old) {
        return;
    }
    if (loop && loop != home) {
        if (!served) {
            served = g_ptr_array_new();
        }
        if (!g_ptr_array_find(served, loop, NULL)) {
            g_ptr_array_add(served, event_loop_ref(loop));
        }
        event_loop_add_user(loop, 1);
        if (depth) {
            park(loop);
        }
    }
    node->loop = loop;
    if (old && old != home && g_ptr_array_find(served, old, NULL)) {
        event_loop_add_user(old, -1);
        for (BlockNode *n = node_next(NULL); n; n = node_next(n)) {
            if (n->loop == old) {
                return;
            }
        }
        g_ptr_array_remove(served, old);
        event_loop_unref(old);
    }
}

static void add_connected(BlockNode *node, GPtrArray *list);

/* What else the owner of ROOT uses: a job works on all its nodes from one loop. */
static void add_of_owner(const BlockChild *root, GPtrArray *list)
{
    for (BlockNode *node = node_next(NULL); node; node = node_next(node)) {
        for (unsigned i = 0; i < node->parents->len; i++) {
            const BlockChild *edge = node->parents->pdata[i];

            if (!edge->parent && edge->hooks == root->hooks && edge->opaque == root->opaque) {
                add_connected(node, list);
                break;
            }
        }
    }
}

static void add_connected(BlockNode *node, GPtrArray *list)
{
    if (g_ptr_array_find(list, node, NULL)) {
        return;
    }
    g_ptr_array_add(list, node);
    for (unsigned i = 0; i < node->children->len; i++) {
        add_connected(((BlockChild *)node->children->pdata[i])->node, list);
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        BlockChild *edge = node->parents->pdata[i];

        if (edge->parent) {
            add_connected(edge->parent, list);
        } else if (edge->hooks) {
            add_of_owner(edge, list);
        }
    }
}

/* The roots of all NODES. */
static GPtrArray *roots_of(const GPtrArray *nodes)
{
    GPtrArray *roots = g_ptr_array_new();

    for (unsigned i = 0; i < nodes->len; i++) {
        const BlockNode *node = nodes->pdata[i];

        for (unsigned k = 0; k < node->parents->len; k++) {
            BlockChild *edge = node->parents->pdata[k];

            if (!edge->parent && edge->hooks) {
                g_ptr_array_add(roots, edge);
            }
        }
    }
    return roots;
}

static const BlockChild *who_stays(const GPtrArray *roots, EventLoop *loop, const BlockChild *by)
{
    for (unsigned i = 0; i < roots->len; i++) {
        const BlockChild *edge = roots->pdata[i];

        if (edge != by && !(edge->hooks->may_move && edge->hooks->may_move(edge->opaque, loop))) {
            return edge;
        }
    }
    return NULL;
}

bool graph_move(BlockNode *node, EventLoop *loop, const BlockChild *by, GError **error)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    g_autoptr(GPtrArray) roots = NULL;
    const BlockChild *stays;

    GRAPH_HOLD();
    if (node->loop == loop) {
        return true;
    }
    /* Drained first: a root may say that it can move when its requests have ended. */
    node_drain_all_begin();
    add_connected(node, nodes);
    roots = roots_of(nodes);
    stays = who_stays(roots, loop, by);
    for (unsigned i = 0; !stays && i < nodes->len; i++) {
        graph_node_set_loop(nodes->pdata[i], loop);
    }
    for (unsigned i = 0; !stays && i < roots->len; i++) {
        const BlockChild *edge = roots->pdata[i];

        if (edge->hooks->moved) {
            edge->hooks->moved(edge->opaque, loop);
        }
    }
    node_drain_all_end();
    return !stays ||
           error_set(error, "Node '%s' cannot go from the event loop '%s' to '%s', because '%s' uses "
                     "it there", node->name, event_loop_name(node->loop), event_loop_name(loop),
                     stays->name);
}

bool graph_join(BlockNode *a, BlockNode *b, GError **error)
{
    bool a_first;

    if (a->loop == b->loop) {
        return true;
    }
    /* What is on the main loop goes to the iothread rather than the other way round. */
    a_first = a->loop == event_loop_main();
    return graph_move(a_first ? a : b, (a_first ? b : a)->loop, NULL, NULL) ||
           graph_move(a_first ? b : a, (a_first ? a : b)->loop, NULL, error);
}

void graph_settle(BlockNode *node)
{
    g_autoptr(GPtrArray) nodes = NULL, roots = NULL;

    if (node->loop == event_loop_main() || on_iothread()) {
        return;
    }
    nodes = g_ptr_array_new();
    add_connected(node, nodes);
    roots = roots_of(nodes);
    for (unsigned i = 0; i < roots->len; i++) {
        const BlockChild *edge = roots->pdata[i];

        if (edge->hooks->wants_loop && edge->hooks->wants_loop(edge->opaque) == node->loop) {
            return;
        }
    }
    graph_move(node, event_loop_main(), NULL, NULL);
}
