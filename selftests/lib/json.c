// SPDX-License-Identifier: GPL-2.0
/*
 * Looks things up in JSON text.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char *skip_space(const char *p)
{
	while (isspace(*p))
		p++;
	return p;
}

/* The character after a string that begins here. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && p[1])
			p++;
	return *p ? p + 1 : p;
}

/* The character after a value: what is in brackets is skipped by depth. */
static const char *skip_value(const char *p)
{
	unsigned int depth = 0;

	while (*p) {
		if (*p == '"') {
			p = skip_string(p);
			continue;
		}
		if (*p == '{' || *p == '[')
			depth++;
		else if (!depth && (*p == ',' || *p == '}' || *p == ']'))
			break;
		else if (*p == '}' || *p == ']')
			depth--;
		p++;
	}
	return p;
}

const char *json_member(const char *object, const char *name)
{
	size_t len = strlen(name);

	if (!object || *object != '{')
		return NULL;
	for (const char *p = skip_space(object + 1); *p == '"';) {
		const char *end = skip_string(p), *value;
		bool found = end - p == len + 2 && !strncmp(p + 1, name, len);

		value = skip_space(end);
		if (*value != ':')
			return NULL;
		value = skip_space(value + 1);
		if (found)
			return value;
		p = skip_value(value);
		if (*p == ',')
			p = skip_space(p + 1);
	}
	return NULL;
}

const char *json_first(const char *array)
{
	const char *p;

	if (!array || *array != '[')
		return NULL;
	p = skip_space(array + 1);
	return *p && *p != ']' ? p : NULL;
}

const char *json_next(const char *element)
{
	const char *p;

	if (!element)
		return NULL;
	p = skip_value(element);
	return *p == ',' ? skip_space(p + 1) : NULL;
}

unsigned int json_count(const char *array)
{
	unsigned int count = 0;

	for (const char *p = json_first(array); p; p = json_next(p))
		count++;
	return count;
}

bool json_number(const char *value, __u64 *number)
{
	if (!value || !isdigit(*value))
		return false;
	errno = 0;
	*number = strtoull(value, NULL, 10);
	return !errno;
}

void json_string(const char *value, char *text, size_t size)
{
	int len = 0;

	if (value && *value == '"')
		len = skip_string(value) - value - 2;
	snprintf(text, size, "%.*s", len > 0 ? len : 0, value ? value + 1 : "");
}
