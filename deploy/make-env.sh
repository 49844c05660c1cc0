#!/bin/sh
# Writes deploy/.env with fresh random keys, for compose.yaml. Never over one that is there.
set -eu
file="$(dirname "$0")/.env"
if [ -e "$file" ]; then
    echo "$file is there already; remove it first if its keys should go (the database keeps its password)" >&2
    exit 1
fi
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
cat > "$file" << END
# Made by deploy/make-env.sh. Keep it to yourself: whoever has API_SERVER_KEY runs commands in the nodes.
API_SERVER_KEY=$(random)
API_SERVER_CALLBACK_SECRET=$(random)
POSTGRES_PASSWORD=$(random)

# Where the proxy listens. For a domain of yours, with a certificate that is got by itself:
# HERMES_SITE=hermes.example.org
# HERMES_HOSTS=hermes.example.org
# HERMES_HTTP=80
# HERMES_HTTPS=443
END
echo "Made $file. Keys of language models go into $(dirname "$0")/providers.env, one NAME=value a line."
