//! The rules of the order system: saga, stock, money. Pure: no clock, no I/O, no async.
