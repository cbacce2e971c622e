# SPDX-License-Identifier: Apache-2.0
# Bulkhead's one Makefile: non-recursive, every source listed in mk/. `make help` says what there is.
MAKEFLAGS += -rR --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash

BUILD := build
CC := gcc
CLANG := clang
NASM := nasm
PYTHON := /usr/bin/python3

.PHONY: all help
all: kernel

include mk/sources.mk
include mk/kernel.mk
include mk/tools.mk
include mk/unit.mk
include mk/fuzz.mk
include mk/boot.mk
include mk/guest.mk
include mk/check.mk
include mk/run.mk

help:
	@echo "Targets of make:"; sed -n 's/^## /  /p' mk/run.mk mk/check.mk mk/boot.mk mk/kernel.mk mk/guest.mk mk/tools.mk mk/unit.mk mk/fuzz.mk Makefile

## clean         remove everything that was built
.PHONY: clean
clean:
	rm -rf $(BUILD)
