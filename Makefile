# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# Both install what they need below target/; PORTAGE_VERSION chooses the Portage (default: the newest known).

CARGO ?= cargo
WORLD := target/world
# Off by default, and tested all the same.
FEATURES := --features buildswarm-store/tokio

.PHONY: demo test lint unit portage soundness soak bench clean-demo

# Builds, publishes and installs the demo world with real Portage; state stays in target/demo.
demo:
	tests/world/demo target/demo

test: lint unit portage

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --all-targets $(FEATURES) -- -D warnings

# Everything that is Rust, with real Portage where a suite needs it.
unit: $(WORLD)/ready
	BUILDSWARM_TEST_PORTAGE="$(CURDIR)/$(WORLD)/portage" $(CARGO) test --quiet $(FEATURES)

# The exporter under the Portage it is for.
portage: $(WORLD)/ready
	cd core/portage/python && PYTHONDONTWRITEBYTECODE=1 \
	  $$(test -x "$(CURDIR)/$(WORLD)/portage/bin/python3" && echo "$(CURDIR)/$(WORLD)/portage/bin/python3" || echo python3) \
	  -m unittest test_plan

# Every change of the catalogue against what a build from scratch makes; writes target/soundness.md.
soundness: $(WORLD)/ready
	BUILDSWARM_CHANGES=all $(CARGO) test --quiet --package buildswarm --test changes

# Quick when everything is there; also when PORTAGE_VERSION changed.
.PHONY: $(WORLD)/ready
$(WORLD)/ready:
	tests/world/setup $(WORLD)

# The store against power cuts, kills, I/O errors and rot: the long tier of what `make unit` has a short one of.
SOAK_MINUTES ?= 60
soak:
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --quiet --package buildswarm-tests --test faults

bench: $(WORLD)/ready
	$(CARGO) bench --package buildswarm-benches

clean-demo:
	rm -rf target/demo
