// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual function at work.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hsm.h"
#include "roundtrip.h"
#include "vf.h"

int vf_topology_begin(struct vf *vf, unsigned int count)
{
	int mgmt = pf_mgmt_open(), ret;

	if (mgmt < 0)
		return mgmt;
	for (unsigned int i = 0; i < count; i++)
		vf[i].fd = -1;
	ret = pf_set_vfs(count);
	if (ret) {
		close(mgmt);
		return ret;
	}
	return mgmt;
}

void vf_topology_end(int mgmt, struct vf *vf, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		vf_close(&vf[i]);
	close(mgmt);
}

int vf_open(struct vf *vf, unsigned int index)
{
	int ret = vf_use(index);

	if (ret)
		return ret;
	snprintf(vf->node, sizeof(vf->node), "%s", hsm_name());
	snprintf(vf->address, sizeof(vf->address), "%s", hsm_pci_address());
	vf->fd = hsm_open();
	return vf->fd < 0 ? vf->fd : 0;
}

void vf_close(struct vf *vf)
{
	if (vf->fd >= 0)
		close(vf->fd);
	vf->fd = -1;
}

int vf_prepare(struct vf *vf)
{
	int ret;

	memset(&vf->part, 0, sizeof(vf->part));
	ret = hsm_provision(vf->fd, &vf->part);
	if (!ret)
		ret = hsm_open_session(vf->fd, &vf->s);
	if (!ret)
		ret = hsm_generate_key(&vf->s, HSM_KEY_GCM_UNAPPROVED, "gcm",
				       HSM_KEY_CIPHER, &vf->gcm);
	if (!ret)
		ret = hsm_generate_xts_keys(&vf->s, &vf->xts1, &vf->xts2);
	return ret;
}

int vf_restart(struct vf *vf, unsigned int index)
{
	int ret;

	vf_close(vf);
	ret = vf_open(vf, index);
	return ret ? ret : vf_prepare(vf);
}

int vf_start(struct vf *vf, unsigned int index, unsigned int resources)
{
	int ret = vf_give(index, resources);

	if (!ret)
		ret = vf_open(vf, index);
	return ret ? ret : vf_prepare(vf);
}

const char *vf_encrypt(const struct vf *vf, size_t len)
{
	__u8 gcm[32], data[32], tweak[32];
	struct gcm_case g = {
		.s = &vf->s,
		.key = vf->gcm.bulk_id,
		.key_bytes = gcm,
		.aad = 20,
		.text = len,
	};
	struct xts_case x = {
		.s = &vf->s,
		.key1 = vf->xts1.bulk_id,
		.key2 = vf->xts2.bulk_id,
		.key1_bytes = data,
		.key2_bytes = tweak,
		.data_unit = AZIHSM_XTS_UNIT_512,
		.first_unit = 7,
		.len = len,
	};
	const char *why;

	hsm_test_key("gcm", gcm);
	hsm_test_key("data", data);
	hsm_test_key("tweak", tweak);
	why = gcm_round_trip(&g);
	return why ? why : xts_round_trip(&x);
}
