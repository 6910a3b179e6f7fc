# SPDX-License-Identifier: GPL-2.0
#
# The project's verbs; `make help` lists them. What builds the module is Kbuild.
#
# The tools run inside a Debian root that `make env` builds in the cache; the
# checkout is there at its own path.

# Another prepared kernel tree to build for, with the compilers of this machine.
KDIR ?=
# The cached kernel to build for: stock or debug.
KERNEL ?= stock
# Where the module is built; the source folders stay clean.
MO ?= $(CURDIR)/build/module$(KERNEL:%=$(if $(filter-out stock,$(KERNEL)),-%))
# The guest tests to run with `make test`, and the run of tools/vm/runs.toml.
T ?=
RUN ?= guest
# How many guests run at once in `make check`; empty for what the machine has processors and memory for.
JOBS ?=
# Arguments of `azihsm bench`, and of the emulator meanwhile.
BENCH ?=
EMULATOR ?=
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

enter := tools/vm/enter.sh
runner := $(enter) tools/vm/runner.sh

kbuild := $(if $(KDIR),$(MAKE) --no-print-directory -C $(KDIR),$(enter) /opt/kernel$(if $(filter-out stock,$(KERNEL)),-$(KERNEL))/kbuild)
kbuild += M=$(CURDIR) MO=$(MO) V=$(V)
kbuild += $(foreach v,CLIPPY KRUSTFLAGS KCFLAGS W INSTALL_MOD_PATH INSTALL_MOD_DIR,\
	$(if $($(v)),$(v)="$($(v))"))

export V

.PHONY: modules env env-debug modules_install demo vm check check-debug chaos soak test bench clean distclean help cached
.NOTPARALLEL:

## modules: build the kernel module (KDIR=DIR: for another prepared kernel; the default)
modules: $(if $(KDIR),,cached)
	@mkdir -p $(MO)
	$(Q)$(kbuild) modules

## modules_install: install the module (INSTALL_MOD_PATH=DIR: below DIR)
modules_install: modules
	$(if $(KDIR)$(INSTALL_MOD_PATH),,$(error The cached kernel is not this machine's: \
		give INSTALL_MOD_PATH=DIR, or KDIR=DIR for a kernel that is))
	$(Q)$(kbuild) modules_install

## env: build the Debian root, the kernel tree and the test runner in the cache
env:
	$(Q)tools/vm/env.sh
	$(Q)$(runner) --build

## env-debug: the same, and the debug kernel (10 minutes more)
env-debug:
	$(Q)tools/vm/env.sh --debug
	$(Q)$(runner) --build

# What every verb that runs in the root needs; says nothing if it is there.
cached:
	$(Q)tools/vm/env.sh --quiet $(if $(filter debug,$(KERNEL)),--debug)

## demo: boot the stock kernel with the emulated HSM and encrypt a file through it
demo: env
	$(Q)$(runner) demo

## vm: a shell in the guest, with the module loaded and the tools on PATH (KERNEL=debug)
vm: env$(if $(filter debug,$(KERNEL)),-debug)
	$(Q)$(runner) shell --kernel $(KERNEL)

## check: run every test and lint, with one summary at the end (T="SUITE.." some, JOBS=N at once)
check: env-debug
	$(Q)$(runner) check $(JOBS:%=--jobs %) $(T)

## check-debug: all guest tests in a kernel that checks memory, locks, contexts and DMA (T, JOBS too)
check-debug: env-debug
	$(Q)$(runner) check-debug $(JOBS:%=--jobs %) $(T)

## chaos: load under random faults, in the debug kernel (SEEDS=A..B RATE=R COMMANDS=N FAULTS=FILE IOMMU=intel)
chaos: env-debug
	$(Q)$(runner) chaos $(if $(SEEDS),--seeds $(SEEDS)) $(if $(RATE),--rate $(RATE)) \
		$(if $(COMMANDS),--commands $(COMMANDS)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(IOMMU:%=--iommu %)

## soak: load under few faults for long (MINUTES=N COMMANDS=N RATE=R KERNEL=debug IOMMU=intel)
soak: env$(if $(filter debug,$(KERNEL)),-debug)
	$(Q)$(runner) soak --kernel $(KERNEL) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(COMMANDS),--commands $(COMMANDS)) $(if $(RATE),--rate $(RATE)) \
		$(IOMMU:%=--iommu %)

## test: run guest tests only (T="NAME.." some, RUN=NAME another set-up)
test: cached
	$(Q)kernel=$$($(runner) kernel --run $(RUN)) && \
		{ [ "$$kernel" != debug ] || tools/vm/env.sh --quiet --debug; } && \
		$(runner) test --run $(RUN) $(T)

## bench: measure what commands cost (BENCH="ARG.." arguments of `azihsm bench`)
bench: cached
	$(Q)$(runner) bench $(foreach a,$(EMULATOR),--emulator=$(a)) -- $(BENCH)

## clean: remove what was built in this folder
clean:
	$(Q)rm -rf build
	$(Q)$(MAKE) --no-print-directory -s -C selftests clean 2>/dev/null || true

## distclean: clean, and remove the cache: the root, the kernel, the artifacts
distclean: clean
	$(Q)tools/vm/env.sh --remove

## help: this list
help:
	@sed -n 's/^## \([a-z_-]*\): \(.*\)/  \1\t\2/p' Makefile | expand -t 20
	@echo
	@echo '  V=1 shows the commands; XDG_CACHE_HOME moves the cache.'
