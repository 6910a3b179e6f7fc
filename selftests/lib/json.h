/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Looks things up in JSON text (RFC 8259) that a program made: names are plain
 * ASCII without escapes, numbers are not negative integers.
 */
#ifndef AZIHSM_JSON_H
#define AZIHSM_JSON_H

#include <linux/types.h>
#include <stdbool.h>

/*
 * A value is a pointer to its first character. NULL is no value; all functions
 * take it and return "nothing" for it, so that look-ups can be nested.
 */

/* The member of an object, or NULL. */
const char *json_member(const char *object, const char *name);
/* The first element of an array, and the one after an element; NULL at the end. */
const char *json_first(const char *array);
const char *json_next(const char *element);
/* The number of elements of an array; 0 for anything else. */
unsigned int json_count(const char *array);
/* Whether there is a number, and which. */
bool json_number(const char *value, __u64 *number);
/*
 * Copies the characters of a string, as they stand between the quotes, as far
 * as they fit. Nothing is copied of what is no string.
 */
void json_string(const char *value, char *text, size_t size);

#endif /* AZIHSM_JSON_H */
