# The Linux Test Project's core list, or $LTP_LIST's (`extended`). What passes natively stands in the
# list itself.

prepare() {
	: "${LTPROOT:?is the folder where LTP is installed}" "${SUITES:?is the folder with ltp_core.json, ltp_extended.json and run_ltp.py}"
	export LTPROOT
}

case_list() { # SIDE [TAG…]
	local side=$1 list=$SUITES/ltp_${LTP_LIST:-core}.json only=() IFS=,
	shift
	if [ "$side" = native ]; then
		python3 - "$list" "$@" <<-'END'
			import json, sys
			for test in json.load(open(sys.argv[1]))["tests"]:
			    if not sys.argv[2:] or test["tag"] in sys.argv[2:]:
			        print(test["tag"], "ok")
		END
		return
	fi
	[ $# -gt 0 ] && only=(--only "$*")
	python3 "$SUITES/run_ltp.py" --list "$list" --baseline "$list" --prefix "$BASTIDE run -q --init --" --jobs 2 \
		--timeout 60 --env KCONFIG_SKIP_CHECK=1 --out "$WORK/ltp.json" "${only[@]}" >&2
	python3 - "$WORK/ltp.json" <<-'END'
		import json, sys
		for test in json.load(open(sys.argv[1]))["results"]:
		    print(test["tag"], "ok" if test["status"] == "pass" else test["status"])
	END
}
