#!/bin/sh
# Prints the path of a Mosquitto that is new enough; if the machine has none, fetches one into .tools, without root.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
trap 'exit 130' INT

# Older bridges can stop reconnecting for ever when the link is cut during the TLS handshake.
wanted=2.0.21
home=$PWD/.tools/mosquitto
new=$PWD/.tools/mosquitto.new
log=$PWD/.tools/mosquitto.log

enough() { printf '%s\n' $wanted "$1" | sort -VC; } # VERSION
works() { enough "$("$1" -h 2>/dev/null | sed -n 's/^mosquitto version //p')"; } # PROGRAM

# The machine's own mirror and keys plus backports, with lists and cache of our own: the system stays as it is.
own_apt() {
    mkdir -p "$new/apt/parts" "$new/apt/state" "$new/apt/cache"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -e "$file" ] || sed -E "s/^(deb .*) $suite (.*)/&\n\1 $suite-backports \2/
            s/^Suites:(.* )?$suite( .*)?$/& $suite-backports/" "$file" >"$new/apt/parts/${file##*/}"
    done
    cat >"$new/apt/apt.conf" <<END
Dir::State "$new/apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$new/apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$new/apt/parts";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Debug::NoLocking "true";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
}

# Mosquitto and the libraries that the machine lacks, unpacked but not installed.
fetch() {
    command -v apt-get || return
    rm -rf "$new"
    own_apt
    set -- -c "$new/apt/apt.conf" -t
    apt-get -c "$new/apt/apt.conf" update || true # what counts is what is found, not that every mirror answers
    for release in "$suite" "$suite-backports"; do
        version=$(apt-cache "$@" "$release" policy mosquitto | sed -n 's/^ *Candidate: \([0-9]\)/\1/p')
        enough "$version" && break
    done
    enough "$version" || return
    apt-get "$@" "$release" install --yes --download-only "mosquitto=$version" || return
    for package in "$new"/apt/cache/archives/*.deb; do dpkg -x "$package" "$new" || return; done
    mkdir -p "$new/bin" && cat >"$new/bin/mosquitto" <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/..
for folder in "$here"/lib/*-linux-* "$here"/usr/lib/*-linux-*; do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$here/usr/sbin/mosquitto" "$@"
END
    chmod +x "$new/bin/mosquitto" && works "$new/bin/mosquitto" && rm -rf "$new/apt" "$home" && mv "$new" "$home"
}

PATH=$PATH:/usr/local/sbin:/usr/sbin:/opt/homebrew/sbin
for program in "$(command -v mosquitto)" "$home/bin/mosquitto"; do
    if works "$program"; then
        echo "$program"
        exit
    fi
done

ID=$(uname -s) VERSION_CODENAME=
# shellcheck source=/dev/null
[ ! -e /etc/os-release ] || . /etc/os-release
suite=$VERSION_CODENAME
mkdir -p .tools
echo "installing Mosquitto into .tools" >&2
if fetch >"$log" 2>&1; then
    echo "$home/bin/mosquitto"
    exit
fi
case $ID in
Darwin) how='brew install mosquitto' ;;
debian) how="apt install -t $suite-backports mosquitto" ;;
ubuntu) how='add-apt-repository ppa:mosquitto-dev/mosquitto-ppa && apt install mosquitto' ;;
*) how="MOSQUITTO=/path/to/one ./just ..." ;;
esac
echo "no Mosquitto $wanted or newer, and fetching it failed (see .tools/mosquitto.log); try again online, or: $how" >&2
exit 1
