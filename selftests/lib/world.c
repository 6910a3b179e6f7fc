// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions and keys that many threads share.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ddi.h"
#include "world.h"

static int make_keys(const struct hsm_session *s, struct world_keys *k)
{
	const struct {
		struct hsm_key *key;
		__u8 *bytes;
		__u32 size;
		const char *label;
	} kinds[] = {
		{ &k->cbc, k->cbc_bytes, HSM_KEY_AES256, "load-cbc" },
		{ &k->gcm, k->gcm_bytes, HSM_KEY_GCM, "load-gcm" },
		{ &k->xts1, k->xts1_bytes, HSM_KEY_XTS, "load-data" },
		{ &k->xts2, k->xts2_bytes, HSM_KEY_XTS, "load-tweak" },
	};
	int ret = 0;

	for (int i = 0; i < 4 && !ret; i++) {
		ret = hsm_generate_key(s, kinds[i].size, kinds[i].label,
				       HSM_KEY_CIPHER, kinds[i].key);
		hsm_test_key(kinds[i].label, kinds[i].bytes);
	}
	return ret;
}

/* Most likely the device has none of them any more. */
static void delete_keys(const struct hsm_session *s, const struct world_keys *k)
{
	hsm_delete_key(s, k->cbc.id);
	hsm_delete_key(s, k->gcm.id);
	hsm_delete_key(s, k->xts1.id);
	hsm_delete_key(s, k->xts2.id);
}

static void close_file(struct world *w, int i)
{
	if (w->s[i].fd >= 0)
		close(w->s[i].fd);
	w->s[i].fd = -1;
	w->open[i] = false;
}

static void close_files(struct world *w)
{
	for (int i = 0; i < WORLD_SESSIONS; i++)
		close_file(w, i);
}

/* Opens the files that are not; the node may be another one meanwhile. */
static int open_files(struct world *w)
{
	for (int i = 0; i < WORLD_SESSIONS; i++) {
		int fd;

		if (w->s[i].fd >= 0)
			continue;
		fd = hsm_open();
		if (fd < 0)
			return fd;
		w->s[i].fd = fd;
	}
	return 0;
}

/* Opens a session, or opens the one again that a reset has left. */
static int bring_session(struct world *w, int i)
{
	struct hsm_session *s = &w->s[i];
	int fd = s->fd;
	int ret;

	if (w->open[i]) {
		ret = hsm_reopen_session(s);
		if (ret <= 0)
			return ret;
		/* The device does not want it: begin with a fresh file. */
		close_file(w, i);
		ret = open_files(w);
		if (ret)
			return ret;
		fd = s->fd;
	}
	ret = hsm_open_session(fd, s);
	s->fd = fd;
	w->open[i] = !ret;
	return ret;
}

static int bring_sessions(struct world *w)
{
	int ret = 0;

	for (int i = 0; i < WORLD_SESSIONS && !ret; i++)
		ret = bring_session(w, i);
	if (!ret)
		ret = make_keys(&w->s[0], &w->keys);
	return ret;
}

/* Only keys are amiss, for all we know. */
static int renew_keys(struct world *w)
{
	struct hsm_device_info info;
	int ret = open_files(w);

	if (!ret)
		ret = hsm_get_device_info(w->s[0].fd, &info);
	if (ret)
		return ret;
	delete_keys(&w->s[0], &w->keys);
	return make_keys(&w->s[0], &w->keys);
}

/* The way back after a reset, as the device's protocol has it. */
static int come_back(struct world *w)
{
	int ret = open_files(w);

	if (!ret)
		ret = hsm_establish(w->s[0].fd, &w->part);
	return ret ? ret : bring_sessions(w);
}

/* From nothing: whatever the device holds is reset. */
static int start_fresh(struct world *w)
{
	int ret;

	w->fresh_starts++;
	close_files(w);
	ret = open_files(w);
	if (!ret)
		ret = hsm_provision(w->s[0].fd, &w->part);
	return ret ? ret : bring_sessions(w);
}

/* What the driver says of the device: 0, or a negative errno. */
static int health(const struct world *w)
{
	struct azihsm_dev_info info;

	return w->s[0].fd < 0 ? 0 : hsm_dev_info(w->s[0].fd, &info);
}

void world_rebind(struct world *w)
{
	w->rebinds++;
	hsm_write_file(HSM_DRIVER "/unbind", w->address);
	hsm_write_file(HSM_DRIVER "/bind", w->address);
	hsm_rescan();
}

/* Sees to it that there is a node. */
static void look_after(struct world *w)
{
	int ret = health(w);

	if (ret == -ENODEV || ret == -EIO)
		close_files(w);
	/* The driver has given the controller up: the next probe may like it. */
	if (w->may_rebind && (ret == -EIO || !hsm_name()))
		world_rebind(w);
	if (w->s[0].fd < 0)
		hsm_rescan();
}

void world_prepare(struct world *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	snprintf(w->address, sizeof(w->address), "%s", hsm_pci_address());
	for (int i = 0; i < WORLD_SESSIONS; i++)
		w->s[i].fd = -1;
}

int world_init(struct world *w)
{
	int ret;

	world_prepare(w);
	ret = start_fresh(w);
	w->fresh_starts = 0;
	return ret;
}

void world_close(struct world *w)
{
	close_files(w);
	pthread_mutex_destroy(&w->lock);
}

void world_look(struct world *w, unsigned int thread, struct world_view *view)
{
	pthread_mutex_lock(&w->lock);
	view->generation = w->generation;
	view->s = w->s[thread % WORLD_SESSIONS];
	view->keys = w->keys;
	pthread_mutex_unlock(&w->lock);
}

/* Makes things anew, if nobody has done so since. */
static int mend(struct world *w, unsigned int generation, bool fresh)
{
	int ret = 0;

	pthread_mutex_lock(&w->lock);
	if (w->generation != generation)
		goto out;
	w->repairs++;
	look_after(w);
	if (fresh) {
		ret = start_fresh(w);
	} else {
		/* A device that was not reset needs no credential, only keys. */
		ret = renew_keys(w);
		if (ret)
			ret = come_back(w);
		if (ret && ret != -EAGAIN)
			ret = start_fresh(w);
	}
	if (!ret)
		w->generation++;
out:
	pthread_mutex_unlock(&w->lock);
	return ret;
}

int world_repair(struct world *w, unsigned int generation)
{
	return mend(w, generation, false);
}

int world_renew(struct world *w, unsigned int generation)
{
	return mend(w, generation, true);
}
