# What every node's login shells begin with: `setup_commands` have ~/.profile read it. Ray's processes inherit it.
export PATH="$HOME/entrepot-venv/bin:$PATH"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # two threads on two busy cores are ten times slower
export RAY_USAGE_STATS_ENABLED="${RAY_USAGE_STATS_ENABLED:-0}"

# Whoever has no token is refused: jobs, dashboard, control store.
export RAY_AUTH_MODE=token

# The switch for TLS is whether there is a certificate; `entrepot cluster up --tls` makes one and brings it here.
if [ -f "$HOME/.ray/tls/server.key" ]; then
    export RAY_USE_TLS=1
    export RAY_TLS_SERVER_CERT="$HOME/.ray/tls/server.crt"
    export RAY_TLS_SERVER_KEY="$HOME/.ray/tls/server.key"
    export RAY_TLS_CA_CERT="$HOME/.ray/tls/ca.crt"
fi
