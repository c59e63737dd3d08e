/* SPDX-License-Identifier: MIT */
/*
 * SMBus transfers, and the EEPROM that memory modules have: 256 bytes behind an offset that each access
 * moves on.
 * Not modelled: other slaves, packet error checking, the transfer's bits and its time.
 * Locking: machine lock.
 */
#include "hw/i2c/smbus.h"

#include "base/error.h"
#include "vm/vm.h"

enum { EEPROM_LEN = 256, WIRE_BUF_LEN = 36 };

typedef struct SmbusEeprom {
    Device dev;
    uint8_t address;
    uint8_t data[EEPROM_LEN];
    uint8_t offset;
    bool accessed;                /* the state is sent only then */
    /* wire only: of a transfer in flight, which is over at once here */
    int32_t mode, data_len;
    uint8_t data_buf[WIRE_BUF_LEN];
} SmbusEeprom;

const BusType bus_i2c = { .name = "i2c-bus", .device_type = "device" };

static const VmField bus_fields[] = { VMS_U8(SmbusBus, saved_address), VMS_END };
static const VmStateDesc vmstate_bus = { .name = "i2c_bus", .version = 1, .minimum = 1,
                                         .fields = bus_fields };

void smbus_bus_init(SmbusBus *bus, Device *owner, const char *name)
{
    bus_init(&bus->bus, &bus_i2c, owner, owner->vm, name);
    bus->saved_address = 0xff;
    vmstate_register(owner->vm, NULL, -1, &vmstate_bus, bus);
}

void smbus_bus_clear(SmbusBus *bus)
{
    vmstate_unregister(bus->bus.vm, &vmstate_bus, bus);
    bus_clear(&bus->bus);
}

/* ---- the EEPROM ---- */

static SmbusEeprom *find(SmbusBus *bus, uint8_t address)
{
    for (unsigned i = 0; i < bus->bus.devices->len; i++) {
        SmbusEeprom *e = DEVICE_CAST(SmbusEeprom, g_ptr_array_index(bus->bus.devices, i));

        if (e->address == address) {
            return e;
        }
    }
    return NULL;
}

/* The one at ADDRESS with its offset at COMMAND; NULL: nobody. */
static SmbusEeprom *find_at(SmbusBus *bus, uint8_t address, uint8_t command)
{
    SmbusEeprom *e = find(bus, address);

    if (e) {
        e->accessed = true;
        e->offset = command;
    }
    return e;
}

static uint8_t eeprom_get(SmbusEeprom *e)
{
    e->accessed = true;
    return e->data[e->offset++];
}

static void eeprom_put(SmbusEeprom *e, uint8_t byte)
{
    e->data[e->offset++] = byte;
}

static bool eeprom_needed(const void *obj)
{
    return ((const SmbusEeprom *)obj)->accessed;
}

static void eeprom_reset_enter(Device *dev)
{
    DEVICE_CAST(SmbusEeprom, dev)->offset = 0;
}

static const VmField slave_fields[] = { VMS_U8(SmbusEeprom, address), VMS_END };
static const VmStateDesc vmstate_slave = { .name = "I2CSlave", .version = 1, .minimum = 1,
                                           .fields = slave_fields };
static const VmField device_fields[] = {
    { .name = "i2c", .kind = VM_STRUCT, .offset = 0, .size = sizeof(SmbusEeprom),
      .desc = &vmstate_slave },
    VMS_I32(SmbusEeprom, mode), VMS_I32(SmbusEeprom, data_len), VMS_U8_ARRAY(SmbusEeprom, data_buf),
    VMS_END
};
static const VmStateDesc vmstate_device = { .name = "smbus-device", .version = 1, .minimum = 1,
                                            .fields = device_fields };
static const VmField eeprom_fields[] = {
    { .name = "smbusdev", .kind = VM_STRUCT, .offset = 0, .size = sizeof(SmbusEeprom),
      .desc = &vmstate_device },
    VMS_U8_ARRAY(SmbusEeprom, data), VMS_U8(SmbusEeprom, offset), VMS_BOOL(SmbusEeprom, accessed), VMS_END
};
static const PropDef eeprom_props[] = { PROP_U8("address", SmbusEeprom, address, 0, .max = 127),
                                        PROP_END };
DEVICE_TYPE(smbus_eeprom, .name = "smbus-eeprom", .size = sizeof(SmbusEeprom), .bus = &bus_i2c,
            .props = eeprom_props, .reset_enter = eeprom_reset_enter,
            .vmstate = VMSTATE("smbus-eeprom", 1, 1, eeprom_fields, .needed = eeprom_needed));

bool smbus_eeprom_new(SmbusBus *bus, uint8_t address, GError **error)
{
    g_autofree char *text = g_strdup_printf("%u", address);

    return device_create(bus->bus.vm, "smbus-eeprom", &bus->bus, error, "address", text, NULL) != NULL;
}

/* ---- the protocols ---- */

bool smbus_quick(SmbusBus *bus, uint8_t address)
{
    return find(bus, address) != NULL;
}

bool smbus_send_byte(SmbusBus *bus, uint8_t address, uint8_t byte)
{
    return find_at(bus, address, byte) != NULL;
}

bool smbus_receive_byte(SmbusBus *bus, uint8_t address, uint8_t *byte)
{
    SmbusEeprom *e = find(bus, address);

    if (!e) {
        return false;
    }
    *byte = eeprom_get(e);
    return true;
}

bool smbus_write(SmbusBus *bus, uint8_t address, uint8_t command, const uint8_t *data, unsigned len)
{
    SmbusEeprom *e = find_at(bus, address, command);

    for (unsigned i = 0; e && i < len; i++) {
        eeprom_put(e, data[i]);
    }
    return e != NULL;
}

bool smbus_read(SmbusBus *bus, uint8_t address, uint8_t command, uint8_t *data, unsigned len)
{
    SmbusEeprom *e = find_at(bus, address, command);

    for (unsigned i = 0; e && i < len; i++) {
        data[i] = eeprom_get(e);
    }
    return e != NULL;
}

/* An EEPROM knows no blocks: it keeps the bytes, not their number. */
bool smbus_block_write(SmbusBus *bus, uint8_t address, uint8_t command, const uint8_t *data,
                       unsigned len)
{
    return smbus_write(bus, address, command, data, MIN(len, SMBUS_BLOCK_MAX));
}

/* ... and answers with what is there: the first byte counts as the number. */
bool smbus_block_read(SmbusBus *bus, uint8_t address, uint8_t command, uint8_t *data, unsigned *len)
{
    SmbusEeprom *e = find_at(bus, address, command);

    if (!e) {
        return false;
    }
    *len = eeprom_get(e);
    *len = MIN(*len, SMBUS_BLOCK_MAX);
    for (unsigned i = 0; i < *len; i++) {
        data[i] = eeprom_get(e);
    }
    return true;
}
