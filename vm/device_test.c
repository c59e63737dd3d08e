/* SPDX-License-Identifier: MIT */
/* What a device is given for its tables: registers, ports, inputs, timers, saved state, DMA; on a toy UART. */
#include "vm/bench.h"
#include "base/json.h"

enum { IER_RX = BIT(0), IER_TX = BIT(1) };
enum { LSR_DR = BIT(0), LSR_OE = BIT(1), LSR_THRE = BIT(5) };

typedef struct Toy {
    Device dev;
    IrqLine irq;
    Timer timer;
    MemoryRegion window;
    uint8_t rbr, ier, lsr, scr;
    uint32_t wide;
    uint64_t last_thr;
    uint32_t base;
    bool fail;
    unsigned syncs;
    gpa_t loop_addr;
} Toy;

static void toy_sync(Device *dev)
{
    Toy *s = DEVICE_CAST(Toy, dev);

    s->syncs++;
    irq_set(&s->irq, ((s->ier & IER_RX) && (s->lsr & LSR_DR)) ||
                     ((s->ier & IER_TX) && (s->lsr & LSR_THRE)));
}

static uint64_t rbr_read(Device *dev, uint64_t value)
{
    DEVICE_CAST(Toy, dev)->lsr &= ~LSR_DR;
    return value;
}

static void thr_write(Device *dev, uint64_t value)
{
    Toy *s = DEVICE_CAST(Toy, dev);

    s->last_thr = value;
    if (s->loop_addr) {
        dma_store(dev, s->loop_addr, 0x77, 1);
    }
}

static void toy_set_input(Device *dev, unsigned n, bool level)
{
    Toy *s = DEVICE_CAST(Toy, dev);

    if (level) {
        s->lsr |= LSR_DR;
        s->rbr = (uint8_t)(0x40 + n);
    }
}

static void toy_timer(void *opaque)
{
    Toy *s = opaque;

    s->lsr |= LSR_DR;
    device_sync(&s->dev);
}

static const RegDef toy_regs[] = {
    { 0, "RBR/THR", REG8(Toy, rbr), .on_read = rbr_read, .on_write = thr_write },
    { 1, "IER",     REG8(Toy, ier), .rw = IER_RX | IER_TX },
    { 5, "LSR",     REG8(Toy, lsr), .reset = LSR_THRE, .clear_on_read = LSR_OE },
    { 7, "SCR",     REG8(Toy, scr), .rw = 0xff },
    { 8, "WIDE",    REG32(Toy, wide), .rw = 0xffff00ff, .w1c = 0x0000ff00, .reset = 0x1200 },
};

static bool toy_realize(Device *dev, GError **error)
{
    Toy *s = DEVICE_CAST(Toy, dev);

    if (s->fail) {
        g_set_error(error, G_FILE_ERROR, 0, "toy refuses");
        return false;
    }
    timer_init(&s->timer, dev->vm->clock, toy_timer, s);
    device_init_reg_region(dev, &s->window, "toy", device_type(dev)->regs, 16);
    memory_region_add(&dev->vm->system_io, s->base, &s->window);
    return true;
}

static void toy_unrealize(Device *dev)
{
    Toy *s = DEVICE_CAST(Toy, dev);

    timer_cancel(&s->timer);
    memory_region_remove(&dev->vm->system_io, &s->window);
    memory_region_clear(&s->window);
}

static const PropDef toy_props[] = {
    PROP_U32("iobase", Toy, base, 0x3f8, .max = 0xfff8),
    PROP_BOOL("fail", Toy, fail, false),
    PROP_END
};
static const VmField toy_fields[] = {
    VMS_U8(Toy, rbr), VMS_U8(Toy, ier), VMS_U8(Toy, lsr), VMS_U8(Toy, scr),
    VMS_U32(Toy, wide), VMS_TIMER(Toy, timer), VMS_END
};
DEVICE_TYPE(toy, .name = "toy-uart", .bus = &bus_system, .size = sizeof(Toy),
            .regs = REG_TABLE(toy_regs), .props = toy_props, .inputs = 4,
            .vmstate = VMSTATE("toy-uart", 1, 1, toy_fields), .set_input = toy_set_input,
            .realize = toy_realize, .unrealize = toy_unrealize, .sync = toy_sync,
            .user_creatable = true);

static Toy *toy_of(DeviceBench *b)
{
    return DEVICE_CAST(Toy, b->dev);
}

static DeviceBench *toy_bench(const char *options)
{
    DeviceBench *b = device_bench_new("toy-uart", options);

    irq_connect(&toy_of(b)->irq, bench_pin(b, 0));
    return b;
}

static void test_tx_irq_follows_ier(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    bench_write8(b, 1, IER_TX);
    g_assert_true(bench_irq(b, 0));
    bench_write8(b, 1, 0);
    g_assert_false(bench_irq(b, 0));
    g_assert_cmpuint(b->irq_edges[0], ==, 1);
}

static void test_masks_apply_per_bit(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    bench_write8(b, 1, 0xff);
    g_assert_cmphex(bench_read8(b, 1), ==, IER_RX | IER_TX);
    g_assert_cmphex(bench_read32(b, 8), ==, 0x1200);
    bench_write32(b, 8, 0xabcd02ef);
    g_assert_cmphex(bench_read32(b, 8), ==, 0xabcd10ef);
    bench_write8(b, 11, 0x55);
    g_assert_cmphex(bench_read32(b, 8), ==, 0x55cd10ef);
    g_assert_cmphex(bench_read16(b, 10), ==, 0x55cd);
}

static void test_unknown_register_reads_ones(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    g_assert_cmphex(bench_read8(b, 3), ==, 0xff);
    bench_write8(b, 3, 1);
}

static void test_clear_on_read(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    toy_of(b)->lsr |= LSR_OE;
    g_assert_cmphex(bench_read8(b, 5), ==, LSR_THRE | LSR_OE);
    g_assert_cmphex(bench_read8(b, 5), ==, LSR_THRE);
}

static void test_port_window_reaches_registers(void)
{
    g_autoptr(DeviceBench) b = toy_bench("iobase=0x2f8");

    bench_out(b, 0x2ff, 0x5a, 1);
    g_assert_cmphex(bench_in(b, 0x2ff, 1), ==, 0x5a);
    g_assert_cmphex(bench_in(b, 0x3ff, 1), ==, 0xff);
}

static void test_input_reaches_device_and_syncs(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");
    IrqPin pin = device_input(b->dev, 2);

    bench_write8(b, 1, IER_RX);
    pin.handler(pin.opaque, pin.n, true);
    g_assert_true(bench_irq(b, 0));
    g_assert_cmphex(bench_read8(b, 0), ==, 0x42);
    g_assert_false(bench_irq(b, 0));
}

static void test_timer_fires_on_bench_clock(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    bench_write8(b, 1, IER_RX);
    timer_set(&toy_of(b)->timer, 1000);
    bench_advance_ns(b, 999);
    g_assert_false(bench_irq(b, 0));
    bench_advance_ns(b, 1);
    g_assert_true(bench_irq(b, 0));
}

static void test_save_load_is_silent_and_complete(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");

    bench_write8(b, 7, 0x99);
    bench_write32(b, 8, 0x11220044);
    timer_set(&toy_of(b)->timer, 5000);
    bench_write8(b, 1, IER_TX);
    bench_save_load(b);
    g_assert_cmphex(bench_read8(b, 7), ==, 0x99);
    g_assert_cmphex(bench_read32(b, 8), ==, 0x11221244);
    g_assert_cmpint(toy_of(b)->timer.deadline_ns, ==, 5000);
    g_assert_true(toy_of(b)->irq.level);
    /* One edge when it was raised; the load made none. */
    g_assert_cmpuint(b->irq_edges[0], ==, 1);
}

static void test_own_dma_does_not_reenter(void)
{
    g_autoptr(DeviceBench) b = toy_bench("");
    Toy *s = toy_of(b);
    MemoryRegion alias;

    memory_region_init_alias(&alias, NULL, "alias", &s->window, 0, 16);
    memory_region_add(&b->vm->system_memory, 0xf0000000, &alias);
    s->loop_addr = 0xf0000007;
    bench_out(b, 0x3f8, 0x12, 1);
    g_assert_cmphex(s->last_thr, ==, 0x12);
    g_assert_cmphex(s->scr, ==, 0);
    address_space_store(&b->vm->memory, 0xf0000007, 0x34, 1);
    g_assert_cmphex(s->scr, ==, 0x34);
    memory_region_remove(&b->vm->system_memory, &alias);
}

static void test_failed_realize_leaves_nothing(void)
{
    Vm *vm;
    Device *dev;
    g_autoptr(GError) error = NULL;

    machine_lock();
    vm = vm_new();
    dev = device_new(vm, "toy-uart", NULL);
    object_set_bool(OBJECT(dev), "fail", true);
    g_assert_false(device_realize(dev, &vm->system_bus, &error));
    g_assert_cmpstr(error->message, ==, "toy refuses");
    g_assert_null(dev->bus);
    g_assert_null(dev->obj.parent);
    g_assert_cmpuint(vm->system_bus.devices->len, ==, 0);
    g_assert_cmpuint(vm->sections->len, ==, 0);
    object_unref(OBJECT(dev));
    vm_free(vm);
    machine_unlock();
}

static void test_wrong_bus_is_refused(void)
{
    static const BusType other = { .name = "Other" };
    g_autoptr(DeviceBench) b = toy_bench("");
    g_autoptr(GError) error = NULL;
    Bus bus;

    bus_init(&bus, &other, b->dev, b->vm, NULL);
    g_assert_cmpstr(bus.obj.name, ==, "other.0");
    g_assert_true(bus_find(b->vm, "other.0", NULL) == &bus);
    g_assert_null(device_create(b->vm, "toy-uart", &bus, &error, NULL));
    g_assert_cmpstr(error->message, ==, "Device 'toy-uart' can't go on Other bus 'other.0'");
    bus_clear(&bus);
}

static void test_properties_are_fixed_after_realize(void)
{
    g_autoptr(DeviceBench) b = toy_bench("id=t0");
    g_autoptr(GError) error = NULL;
    g_autofree char *path = object_path(OBJECT(b->dev));

    g_assert_cmpstr(path, ==, "/machine/peripheral/t0");
    g_assert_true(device_find(b->vm, "t0") == b->dev);
    g_assert_false(object_set_text(OBJECT(b->dev), "iobase", "1", &error));
    g_assert_true(g_str_has_prefix(error->message, "Attempt to set property 'iobase' on device "
                                                   "'t0'"));
}

static void test_unknown_model_suggests(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(device_new(NULL, "toy-uar", &error));
    g_assert_cmpstr(error->message, ==, "'toy-uar' is not a valid device model name; did you mean "
                                        "'toy-uart'?");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/device/tx-irq-follows-ier", test_tx_irq_follows_ier);
    g_test_add_func("/device/masks", test_masks_apply_per_bit);
    g_test_add_func("/device/unknown-register", test_unknown_register_reads_ones);
    g_test_add_func("/device/clear-on-read", test_clear_on_read);
    g_test_add_func("/device/port-window", test_port_window_reaches_registers);
    g_test_add_func("/device/input", test_input_reaches_device_and_syncs);
    g_test_add_func("/device/timer", test_timer_fires_on_bench_clock);
    g_test_add_func("/device/save-load", test_save_load_is_silent_and_complete);
    g_test_add_func("/device/own-dma", test_own_dma_does_not_reenter);
    g_test_add_func("/device/failed-realize", test_failed_realize_leaves_nothing);
    g_test_add_func("/device/wrong-bus", test_wrong_bus_is_refused);
    g_test_add_func("/device/fixed-after-realize", test_properties_are_fixed_after_realize);
    g_test_add_func("/device/unknown-model", test_unknown_model_suggests);
    return g_test_run();
}
