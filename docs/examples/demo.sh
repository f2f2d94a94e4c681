# What `make demo` runs, in a folder of its own.
set -eu
here=$(dirname "$0")
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { say "\$ $*"; "$@"; }

say "Training on handwritten digits (docs/examples/train_digits.py), with ci.trace(last=12) at the end"
python "$here/train_digits.py"
run cirron traces list
run cirron traces view --depth 2
cat <<'END'

The trace lies in ./.cirron/spool as JSON. Try next, in this folder (build/demo):
  cirron traces view                      every span and mark
  cirron traces view --name validation    one kind of span, with its ancestors
  cirron traces list --json               for scripts
  python -c "import json, glob; print(json.load(open(glob.glob('.cirron/spool/*.json')[0])).keys())"
And in your own program: import cirron as ci; ci.profile()
END
