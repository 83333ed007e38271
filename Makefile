# stagate: one Makefile, no recursion. `make help` lists the targets; objects go to build/$(VARIANT)/.
#
# VARIANT=release|debug|asan|tsan picks flags and the build folder; CC=gcc|clang the compiler.

VARIANT ?= release
PREFIX  ?= /usr/local
BUILD   := build/$(VARIANT)
VERSION := 0.1.0
PY      := /usr/bin/python3
E2E_JOBS ?= 4 # end-to-end tests at once: they mostly wait, also on two cores

ifeq ($(origin CC),default)
CC := gcc
endif

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# ---- what Debian has to provide -------------------------------------------------------------------------
DEPS_BUILD   := gcc libc6-dev make pkg-config libuv1-dev libssl-dev libhttp-parser-dev libyaml-dev liblmdb-dev \
                libexpat1-dev libjansson-dev libhiredis-dev libldap-dev libcrypt-dev libgmime-3.0-dev
DEPS_TEST    := check openssl curl python3 python3-pytest python3-pytest-xdist python3-yaml python3-cryptography \
                redis-server slapd ldap-utils
DEPS_CHECK   := clang clang-format libclang-rt-14-dev cppcheck shellcheck gcovr
DEPS_INTEROP := sogo sogo-activesync dovecot-imapd dovecot-lmtpd nginx-light memcached postgresql-15 \
                openssl curl wget socat chromium libnss3-tools python3 python3-pytest python3-urllib3 \
                python3-requests python3-socks nodejs $(if $(shell command -v npm),,npm)
DEPS_BENCH   := haproxy nginx-light libnginx-mod-stream squid-openssl hitch apache2-bin wrk

# $(call missing,PACKAGES): those that are not installed
missing = $(shell for p in $(1); do \
	dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)
# $(call apt,PACKAGES): installs what is missing and says so; silent when nothing is
define apt
	@miss="$(call missing,$(1))"; [ -z "$$miss" ] || { \
	echo "deps: installing from Debian:" $$miss; \
	as=""; [ "$$(id -u)" = 0 ] || as=sudo; \
	mark=/usr/sbin/policy-rc.d; \
	[ -e $$mark ] || { printf '#!/bin/sh\nexit 101\n' | $$as tee $$mark >/dev/null; $$as chmod 755 $$mark; made=1; }; \
	$$as apt-get -o DPkg::Lock::Timeout=300 update -qq && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
		--no-install-recommends $$miss >build/apt.log 2>&1 || { tail -20 build/apt.log; rc=1; }; \
	[ -z "$$made" ] || $$as rm -f $$mark; \
	[ -z "$$rc" ] || { echo "deps: apt-get failed, its output is in build/apt.log"; exit 1; }; }
endef

# ---- flags ----------------------------------------------------------------------------------------------
PKGS     := libuv libcrypto libssl
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wwrite-strings -Wvla -Wformat=2 -Wno-format-nonliteral
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CPPFLAGS += -Iinclude -D_GNU_SOURCE -DSTAGATE_VERSION='"$(VERSION)"'
CFLAGS_  := -std=c11 -g $(WARN)
LDFLAGS_ := -pie -Wl,-z,relro,-z,now
LDLIBS_  := -luv -lssl -lcrypto -lhttp_parser -lyaml -llmdb -lexpat -ljansson -lhiredis -lldap -llber -lcrypt -lpthread

# mailsim alone reads messages
CPPFLAGS_mailsim = $(shell pkg-config --cflags gmime-3.0)
LDLIBS_mailsim   = $(shell pkg-config --libs gmime-3.0)
LDLIBS_easload   = -lm

ifeq ($(VARIANT),release)
CFLAGS_  += -O2 $(HARDEN) -D_FORTIFY_SOURCE=2
else ifeq ($(VARIANT),debug)
CFLAGS_  += -Og $(HARDEN)
else ifeq ($(VARIANT),asan)
CFLAGS_  += -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_ += -fsanitize=address,undefined
else ifeq ($(VARIANT),tsan)
CFLAGS_  += -O1 -fPIE -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_ += -fsanitize=thread
else ifeq ($(VARIANT),cov)
CFLAGS_  += -O0 -fPIE --coverage
LDFLAGS_ += --coverage
else ifeq ($(VARIANT),fuzz)
CC       := clang
CFLAGS_  += -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
LDFLAGS_ += -fsanitize=address,undefined
else
$(error VARIANT is release, debug, asan, tsan, cov or fuzz, not '$(VARIANT)')
endif

# ---- what is built --------------------------------------------------------------------------------------
LAYERS   := base net proto http sta gate
PROGRAMS := stagate mailsim easload
LIB      := $(BUILD)/libstagate.a
LIB_OBJ  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(LAYERS:%=src/%/*.c)))
PROG_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(PROGRAMS:%=src/%/*.c)))
# what tests and fuzz targets of a program link: all of it but its main
$(foreach p,$(PROGRAMS),$(eval OBJ_$(p) := $(patsubst %.c,$(BUILD)/%.o,$(filter-out src/$(p)/main.c,$(wildcard src/$(p)/*.c)))))
BINS     := $(PROGRAMS:%=$(BUILD)/%)
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
FUZZ     := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH    := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

.PHONY: all deps demo test check unit e2e interop certs asan tsan fuzz fuzz-replay bench bench-phones format lint cov \
        install uninstall clean help deps-build deps-check deps-interop deps-bench

all: deps-build $(BINS) ## build the programs

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(if $(findstring src/mailsim/mail.,$<),$(CPPFLAGS_mailsim)) $(CFLAGS_) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	@ar rcs $@ $^

define program_rule
$(BUILD)/$(1): $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/$(1)/*.c)) $(LIB)
	$(CC) $(LDFLAGS_) $(LDFLAGS) -o $$@ $$^ $(LDLIBS_) $$(LDLIBS_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

# tests and fuzz targets of a program begin with its name: test_mailsim_box, fuzz_mailsim
program_of   = $(foreach p,$(PROGRAMS),$(if $(findstring _$(p),$(@F)),$(p)))
program_inc  = $(addprefix -Isrc/,$(program_of))
program_objs = $(foreach p,$(program_of),$(OBJ_$(p)))
program_libs = $(foreach p,$(program_of),$(LDLIBS_$(p)))

define program_tests
$(filter $(BUILD)/tests/test_$(1)_%,$(UNIT)): $(OBJ_$(1))
$(patsubst %,$(BUILD)/fuzz/%,$(filter fuzz_$(1)%,$(FUZZ))) $(patsubst %,$(BUILD)/replay/%,$(filter fuzz_$(1)%,$(FUZZ))): $(OBJ_$(1))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_tests,$(p))))

$(BUILD)/tests/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(program_inc) $(CFLAGS_) $(CFLAGS) -Wno-missing-prototypes -MMD -MP $(LDFLAGS_) -o $@ $< \
		$(program_objs) $(LIB) $(LDLIBS_) $(program_libs) $$(pkg-config --libs check)

$(BUILD)/bench/%: tests/bench/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_) $(CFLAGS) -MMD -MP $(LDFLAGS_) -o $@ $< $(LIB) $(LDLIBS_)

$(BUILD)/fuzz/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_) -Wno-missing-prototypes -MMD -MP -fsanitize=fuzzer $(LDFLAGS_) \
		$(program_inc) -o $@ $< $(program_objs) $(LIB) $(LDLIBS_) $(program_libs)

# the same target without libFuzzer: replays its corpus in the ordinary test run, with any compiler
$(BUILD)/replay/%: tests/fuzz/%.c tests/fuzz/replay_main.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_) -Wno-missing-prototypes -MMD -MP $(LDFLAGS_) \
		$(program_inc) -o $@ $< tests/fuzz/replay_main.c $(program_objs) $(LIB) $(LDLIBS_) $(program_libs)

-include $(LIB_OBJ:.o=.d) $(PROG_OBJ:.o=.d) $(UNIT:=.d) $(BENCH:=.d)

# ---- dependencies ---------------------------------------------------------------------------------------
build:
	@mkdir -p build

deps: deps-build ## install what building and testing needs (apt, with sudo where not root)
	@echo "deps: everything is installed"

deps-build: | build
	$(call apt,$(DEPS_BUILD) $(DEPS_TEST))

deps-check: | build
	$(call apt,$(DEPS_CHECK))

deps-interop: | build
	$(call apt,$(DEPS_INTEROP))

deps-bench: | build
	$(call apt,$(DEPS_BENCH))

# ---- running and testing --------------------------------------------------------------------------------
certs: certs/lab/ca.crt ## make the lab's CA and certificates in certs/lab (never committed)
certs/lab/ca.crt: certs/make-certs.sh
	@certs/make-certs.sh certs/lab

demo: all certs ## show the main job in the terminal (ACT=name picks one act)
	@$(PY) tests/e2e/demo.py --bin $(BUILD) $(if $(ACT),--act $(ACT))

.PHONY: build-tests lint-clang
build-tests: $(BINS) $(UNIT) $(FUZZ:%=$(BUILD)/replay/%)

test: all certs unit fuzz-replay e2e ## unit tests, fuzz corpora replayed, end-to-end tests

unit: deps-build $(UNIT)
	@$(PY) tests/unit/run.py $(UNIT)

fuzz-replay: deps-build $(FUZZ:%=$(BUILD)/replay/%)
	@for f in $(FUZZ); do $(BUILD)/replay/$$f tests/fuzz/corpus/$${f#fuzz_} || exit 1; done

e2e: all certs
	@STAGATE_BIN=$(abspath $(BUILD)) $(PY) -m pytest -q -p no:cacheprovider -n $(E2E_JOBS) --dist loadfile tests/e2e $(PYTEST)

check: deps-check lint asan tsan fuzz ## the slower checks: lint, sanitizers, a short fuzz run

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory VARIANT=asan test

tsan: ## the tests under ThreadSanitizer
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp:print_suppressions=0$${TSAN_OPTIONS:+:$$TSAN_OPTIONS}" \
		$(MAKE) --no-print-directory VARIANT=tsan unit e2e

FUZZ_SECONDS ?= 20
fuzz: deps-check ## every fuzz target for FUZZ_SECONDS (20)
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-build
	@mkdir -p build/fuzz/artifacts build/fuzz/log $(FUZZ:%=build/fuzz/corpus/%)
	@printf '%s\n' $(FUZZ:fuzz_%=%) | xargs -P "$$(nproc)" -I {} sh -c 'echo "fuzz: {} for $(FUZZ_SECONDS) s"; \
		build/fuzz/fuzz/fuzz_{} -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -timeout=10 -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=build/fuzz/artifacts/fuzz_{}- build/fuzz/corpus/fuzz_{} tests/fuzz/corpus/{} \
			>build/fuzz/log/{} 2>&1 || { echo "fuzz: {} failed:"; grep -v "NEW_FUNC\|Uses:" build/fuzz/log/{} | tail -n 40; exit 255; }'
	@echo "fuzz: $(words $(FUZZ)) targets, nothing found"

.PHONY: fuzz-build
fuzz-build: $(FUZZ:%=$(BUILD)/fuzz/%)

interop: all certs deps-interop ## real servers and clients (SOGo, curl, openssl, Python, Node, Chromium) through stagate
	@STAGATE_BIN=$(abspath $(BUILD)) tests/interop/run.sh

bench: all certs deps-bench $(BENCH) ## measure beside haproxy, nginx, squid, hitch and apache
	@STAGATE_BIN=$(abspath $(BUILD)) $(PY) tests/bench/bench.py $(BENCHARGS)

PHONES ?= 50000
bench-phones: all certs ## 50,000 phones waiting at once, TLS in TLS, then mail to 1,000 of them (PHONES=N)
	@$(PY) tests/bench/many.py --bin $(BUILD) --phones $(PHONES)

FORMAT_FILES = $(shell git ls-files '*.c' '*.h')
format: deps-check ## lay the code out
	@clang-format -i $(FORMAT_FILES)

lint-clang:
	@$(MAKE) --no-print-directory CC=clang BUILD=build/clang $(patsubst %,build/clang/%,$(PROGRAMS))

lint: deps-check ## layout, warnings of clang, cppcheck, shellcheck, layer arrows
	@clang-format --dry-run -Werror $(FORMAT_FILES)
	@$(MAKE) --no-print-directory lint-clang
	@cppcheck -q --error-exitcode=1 --inline-suppr --enable=warning,portability --std=c11 -Iinclude -D_GNU_SOURCE \
		--suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches src
	@shellcheck $$(git ls-files '*.sh' .ci/run)
	@$(PY) tests/unit/layers.py

cov: deps-check ## line coverage of the tests, in build/cov/coverage.html
	@$(MAKE) --no-print-directory VARIANT=cov unit e2e
	@gcovr -r . --object-directory build/cov --html-details build/cov/coverage.html -f src/ --print-summary

# ---- installing -----------------------------------------------------------------------------------------
install: all ## install the programs and manual pages under PREFIX (/usr/local; DESTDIR respected)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/doc/stagate/config/scenarios
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 README.md docs/*.md $(DESTDIR)$(PREFIX)/share/doc/stagate
	install -m 644 config/*.yaml $(DESTDIR)$(PREFIX)/share/doc/stagate/config
	install -m 644 config/scenarios/*.yaml $(DESTDIR)$(PREFIX)/share/doc/stagate/config/scenarios

uninstall: ## remove what install put there
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/man/man1/%.1)
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/stagate

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|'
