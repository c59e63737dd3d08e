# SPDX-License-Identifier: MIT
# The few commands a person needs; the build itself is meson's.
BUILD ?= build
ISO ?=
ARGS ?=

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo "make            build; programs land in $(BUILD)/bin"
	@echo "make run        install what is missing, build, boot the default guest"
	@echo "make run ISO=x  the same with any bootable image; ARGS='...' adds options"
	@echo "make check      install what is missing, build, run every test"
	@echo "make check-slow the guests that take many minutes each"
	@echo "make bench      speed, start-up time, memory, storage: this machine, an installed QEMU, Rhea;"
	@echo "                ARGS='--parts kernels -k fib' chooses, ARGS=--help explains"
	@echo "make style      the checks of layers, headers and commit messages"
	@echo "make install    install below the prefix of ./configure (DESTDIR is honoured)"
	@echo "make clean      remove what was built"

$(BUILD)/build.ninja:
	@./configure --builddir=$(BUILD)

deps-%:
	@scripts/install_deps.sh $*

run: deps-run
	@$(MAKE) --no-print-directory all
	@python3 scripts/default_guest.py --build $(BUILD) run $(if $(ISO),--iso '$(ISO)') -- $(ARGS)

check: deps-check
	@$(MAKE) --no-print-directory all
	@python3 tests/boot/fetch_guests.py --build $(BUILD) --try
	@python3 scripts/run_tests.py $(BUILD) --no-suite boot-slow

check-slow: deps-slow
	@$(MAKE) --no-print-directory all
	@python3 tests/boot/fetch_guests.py --build $(BUILD) --try
	@python3 scripts/run_tests.py $(BUILD) --suite boot-slow

bench: deps-bench
	@$(MAKE) --no-print-directory all
	@python3 tests/bench/bench.py --build $(BUILD) $(ARGS)

style:
	@python3 scripts/check_layers.py
	@python3 scripts/check_headers.py $(BUILD)
	@python3 scripts/check_commits.py

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	@if [ -f $(BUILD)/build.ninja ]; then ninja -C $(BUILD) clean; fi

.PHONY: all help run check check-slow bench style install clean
