# Ends processes, and removes a folder, once the process that started them is gone.
#
# That process holds the other end of standard input, and writes there what it starts:
#
#     watch PID STARTED    end this process with the rest; STARTED tells it from a later one with its PID
#     forget PID           this process has ended
#     dismiss              leave everything running, and end
#
# However it ends, by itself, by Ctrl-C or by kill -9, the operating system closes its end of the pipe.
# That is the sign. What it wrote before is still read first, so nothing that was started is missed.
#
# Arguments: the folder to remove (or nothing), and "keep-logs" to leave the folder `logs` in it.

set -u
# Ctrl-C, or closing the terminal, is meant for the starter. This process goes when that one is gone.
trap '' HUP INT TERM
cd /

dir=$1
keep=$2
watched=''

# When a process started; nothing for one that has ended, even if nobody has collected its exit status.
# The words are those of `ProcessId` in process.rs.
started() {
    if [ -d /proc/self ]; then
        stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
        # The second field is the program's name in parentheses, and may hold anything.
        set -f
        set -- ${stat##*) }
        set +f
        case $1 in [ZX]) return 0 ;; esac
        echo "${20}"
    else
        set -- $(ps -o stat= -o lstart= -p "$1" 2>/dev/null)
        case ${1:-Z} in Z*) return 0 ;; esac
        shift
        (IFS=_ && echo "$*")
    fi
}

while read -r command pid time; do
    case $command in
    watch) watched="$watched $pid:$time" ;;
    forget)
        rest=''
        for entry in $watched; do
            [ "${entry%%:*}" = "$pid" ] || rest="$rest $entry"
        done
        watched=$rest
        ;;
    dismiss) exit 0 ;;
    esac
done

# There is nothing to save, so there is nothing to ask them for: kill.
for entry in $watched; do
    [ "$(started "${entry%%:*}")" = "${entry#*:}" ] && kill -9 "${entry%%:*}"
done
for entry in $watched; do
    tries=0
    while [ "$(started "${entry%%:*}")" = "${entry#*:}" ] && [ $tries -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
done

[ -n "$dir" ] || exit 0
if [ "$keep" = keep-logs ]; then
    for entry in "$dir"/* "$dir"/.[!.]*; do
        [ "$entry" = "$dir/logs" ] || rm -rf "$entry"
    done
else
    rm -rf "$dir"
fi
