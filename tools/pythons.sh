# Prints each CPython from 3.11 that is here, one path a line, one per minor version: those on PATH, then pyenv's.
for minor in 11 12 13 14; do
  for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"3.$minor".*/bin/python; do
    if "$python" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
      "$python" -c 'import sys; print(sys.executable)'
      break
    fi
  done
done
