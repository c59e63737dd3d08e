/* SPDX-License-Identifier: MIT */
/*
 * SMBus: the bus ("i2c-bus") and the memory that answers on it ("smbus-eeprom").  [SMBus 2.0, 5.5]
 *
 * A host calls one function per protocol of the specification; false: nobody acknowledged the address.
 * ADDRESS is the 7-bit one.
 * Thread rule: machine lock.
 */
#ifndef HW_I2C_SMBUS_H
#define HW_I2C_SMBUS_H

#include "vm/device.h"

enum { SMBUS_BLOCK_MAX = 32 };

typedef struct SmbusBus {
    Bus bus;
    uint8_t saved_address;        /* wire: of a transfer in flight, 0xff none */
} SmbusBus;

extern const BusType bus_i2c;

void smbus_bus_init(SmbusBus *bus, Device *owner, const char *name);
void smbus_bus_clear(SmbusBus *bus);
/* An EEPROM with 256 zeroes at ADDRESS. */
bool smbus_eeprom_new(SmbusBus *bus, uint8_t address, GError **error);

bool smbus_quick(SmbusBus *bus, uint8_t address);
bool smbus_send_byte(SmbusBus *bus, uint8_t address, uint8_t byte);
bool smbus_receive_byte(SmbusBus *bus, uint8_t address, uint8_t *byte);
/* LEN bytes after the command byte: byte and word data. */
bool smbus_write(SmbusBus *bus, uint8_t address, uint8_t command, const uint8_t *data, unsigned len);
bool smbus_read(SmbusBus *bus, uint8_t address, uint8_t command, uint8_t *data, unsigned len);
/* Blocks carry their length: at most SMBUS_BLOCK_MAX bytes. */
bool smbus_block_write(SmbusBus *bus, uint8_t address, uint8_t command, const uint8_t *data,
                       unsigned len);
bool smbus_block_read(SmbusBus *bus, uint8_t address, uint8_t command, uint8_t *data, unsigned *len);

#endif
