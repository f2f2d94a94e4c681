# What `make demo` runs, in a folder of its own.
set -eu
here=$(dirname "$0")
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { say "\$ $*"; "$@"; }

say "Training on handwritten digits (docs/examples/train_digits.py), then ci.trace()"
python "$here/train_digits.py"
run cirron traces list
run cirron traces view --depth 2
cat <<'END'

The trace lies in build/demo/.cirron/spool as JSON. Try next:
  . build/venv/bin/activate && cd build/demo
  cirron traces view                      every span and mark
  cirron traces view --name validation    one kind of span, with its ancestors
  cirron traces list --json               for scripts
  python -m json.tool .cirron/spool/*.json | less
And in your own program: import cirron as ci; ci.profile()
END
