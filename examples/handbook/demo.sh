#!/bin/sh
# Index the handbook, then ask it three questions; it does not hold the answer to the last.
set -eu
cd "$(dirname "$0")"

say() { printf '\n$ %s\n' "$*"; }
ask() {
    say ragstone ask --timings "\"$1\""
    ragstone ask --timings "$1" || [ $? -eq 3 ] # 3: not in the documents
}

say ragstone index
ragstone index
ask "How many days of leave can I carry over, and until when?"
ask "Until when is the climate chamber North under warranty?"
ask "How many days of paid leave do I get when my sibling gets married?"
