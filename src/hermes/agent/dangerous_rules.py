"""What asks first because it destroys work or changes how this machine runs."""

from __future__ import annotations

import re
from itertools import pairwise

from hermes.agent.command import Command
from hermes.agent.places import Ground
from hermes.agent.rule import VALUE_OPTIONS, Level, Matches, Rule, any_of, exact, is_known, program, runs, tool
from hermes.agent.wrappers import SHELLS, constant_output


def _deletes_trees(command: Command, ground: Ground) -> bool:
    if command.name == "rm":
        return command.has("r", "R", "recursive")
    if command.name == "find":
        return "-delete" in command.words and not _finds_by_name(command, ground)
    if command.name == "rsync":
        return any(word.startswith("--del") for word in command.arguments)
    return command.name in ("shred", "srm", "wipe", "rimraf")


def _finds_by_name(command: Command, ground: Ground) -> bool:
    """`find . -name '*.pyc' -delete` in a directory of one's own: single files, as `rm *.pyc`."""
    words = list(command.arguments)
    before = words[: words.index("-delete")]
    starts = before[: next((at for at, word in enumerate(before) if word.startswith(("-", "(", "!"))), len(before))]
    tests = before[len(starts) :]
    names = [after for word, after in pairwise(tests) if word in ("-name", "-iname")]
    is_plain = set(tests) <= {"-type", "f", "-name", "-iname", *names} and words[-1] == "-delete"
    places = [place for word in starts or ["."] for place in ground.places(word, command.directory)]
    return (
        is_plain
        and len(names) == 1
        and re.fullmatch(r"\*?\.?[\w.-]{2,}\*?", names[0]) is not None
        and all(map(is_known, starts))
        and bool(places)
        and all(_is_own(place, ground) for place in places)
    )


def _is_own(place: str, ground: Ground) -> bool:
    workdir = str(ground.workdir)
    return not ground.is_root(workdir) and (place == workdir or place.startswith(workdir + "/"))


def _where(command: Command, ground: Ground) -> str:
    """Deleting in the working directory is one thing to allow; anywhere else it is this command only."""
    places = [place for word in command.operands for place in ground.places(word, command.directory)]
    workdir = str(ground.workdir)
    is_inside = bool(places) and all(place.startswith(workdir + "/") for place in places)
    if command.name == "rm" and is_inside and all(is_known(word) for word in command.operands):
        return f"rm in {workdir}"
    return exact(command, ground) + ("" if command.directory is None else f" in {command.directory}")


def _runs_piped(command: Command, ground: Ground) -> bool:
    """A shell that reads what another program prints, when that is not known."""
    if command.name not in SHELLS or not command.piped_from or constant_output(command.piped_from) is not None:
        return False
    return not [word for word in command.arguments if not word.startswith("-")]


def _kills(command: Command, ground: Ground) -> bool:
    if command.name == "kill":
        if "xargs" in command.through:
            return not (command.piped_from and all(before.name == "jobs" for before in command.piped_from))
        own = re.compile(r"-\w+|%.*|\$(?!PPID$)(?:[A-Za-z_]\w*|[!$])|\$\(jobs -p\)|--")
        checks = command.arguments[:1] in (("-0",), ("-l",), ("-L",))
        return not checks and any(own.fullmatch(word) is None for word in command.arguments)
    if command.name == "fuser":
        return command.has("k", "kill")
    return command.name in ("pkill", "killall", "skill", "xkill", "taskkill")


def _wide_rights(command: Command, ground: Ground) -> bool:
    if command.name in ("chmod", "chown", "chgrp", "setfacl") and command.has("R", "recursive"):
        return True
    if command.name in ("chmod", "chown", "chgrp") and any(
        ground.is_root(word, command.directory) for word in command.operands[1:]
    ):
        return True
    if command.name == "chmod":
        modes = [word for word in command.arguments if not word.startswith("--")]
        return any(_is_wide(clause) for clause in "".join(modes[:1]).split(","))
    return command.name in ("chattr", "setcap")


def _is_wide(clause: str) -> bool:
    """Whether a mode of chmod lets everybody write, or runs the file as its owner."""
    if (number := re.fullmatch(r"([0-7]?)[0-7]{2}([0-7])", clause)) is not None:
        return number[1] in ("2", "4", "6", "7") or number[2] in ("2", "3", "6", "7")
    words = re.fullmatch(r"([ugoa]*)[+=]([rwxXst]*)", clause)
    return words is not None and ("s" in words[2] or ("w" in words[2] and bool(set("oa") & set(words[1]))))


_SQL_CLIENTS = re.compile(
    r"psql|mysql|mariadb|sqlite3?|sqlcmd|clickhouse(?:-client)?|duckdb|cockroach|usql|pgcli|mycli|mongo(?:sh)?|"
    r"redis-cli"
)
_SQL = re.compile(
    r"\bdrop\s+(?:table|database|schema|index|view|user|role|column|owned)\b|\btruncate\s+(?:table\s+)?\w|"
    r"\bdelete\s+from\s+[\w.\"`]+\s*(?:;|$|['\"])|\bupdate\s+[\w.\"`]+\s+set\b(?!.*\bwhere\b)|"
    r"\balter\s+table\b.*\bdrop\b|"
    r"dropDatabase|\.drop\(\)|deleteMany\(\s*\{\s*\}\s*\)|\bflush(?:all|db)\b",
    re.IGNORECASE | re.DOTALL,
)


def _destroys_data(command: Command, ground: Ground) -> bool:
    if command.name in ("dropdb", "dropuser"):
        return True
    if _SQL_CLIENTS.fullmatch(command.name) is None:
        return False
    piped = " ".join(" ".join(before.arguments) + (before.input_text or "") for before in command.piped_from)
    return _SQL.search(" ".join((*command.arguments, command.input_text or "", piped))) is not None


def _breaks_containers(command: Command, ground: Ground) -> bool:
    if command.name not in ("docker", "podman", "nerdctl", "docker-compose"):
        return False
    rest = " ".join(command.subcommand(*VALUE_OPTIONS_OF_DOCKER))
    home, workdir = str(ground.user_home), str(ground.workdir)
    if not ground.is_root(workdir):
        rest = re.sub(rf"{re.escape(workdir)}(?=[/:,])", ".", rest)  # "$PWD":/src
    if home != "/":
        rest = re.sub(rf"{re.escape(home)}(?=[/:,])", "~", rest)  # wherever homes are: /Users, /var/lib/hermes
    return bool(
        re.match(
            r"(?:(?:system|volume|image|container|builder|network|buildx) )?prune|volume rm|rmi\b|image rm|"
            r"rm\b.*-\w*[fv]|(?:compose )?down\b.*(?:-v\b|--volumes|--rmi)|swarm|"
            r"(?:secret|context)(?! (?:ls|show|inspect)\b)",
            rest,
        )
        or re.search(
            r"--privileged|--cap-add|--pid[= ]host|--net(?:work)?[= ]host|--userns[= ]host|--security-opt|--device|"
            r"(?:-v|--volume)[= ]?(?:/|/etc|/root|/home|~|/var/run|/run|/usr|/var|/proc|/sys|/dev)(?:/[^ :]*)?:|"
            r"docker\.sock|"
            r"source=(?:/|~|/etc|/root|/home|/var/run/[^,]*)(?:,|$)",
            rest,
        )
    )


VALUE_OPTIONS_OF_DOCKER = ("-H", "--host", "--context", "-l", "--config", "-f", "--file")


def _discards(command: Command, ground: Ground) -> bool:
    """`git restore`, but of what is staged alone."""
    if command.name != "git" or (words := command.subcommand(*VALUE_OPTIONS["git"]))[:1] != ["restore"]:
        return False
    options = Command(tuple(words))
    return not options.has("S", "staged") or options.has("W", "worktree")


_CONFIG_FLAGS = re.compile(r"--(?:global|system|local|worktree|null|bool|int|type=\w+|show-\w+|name-only)|-z")
_READS_CONFIG = re.compile(r"--get\S*|--list|-l|get|list|-h|--help")
_HARMLESS_KEYS = re.compile(
    r"user\.(?:name|email|signingkey)|init\.defaultbranch|pull\.(?:rebase|ff)|push\.(?:default|autosetupremote)|"
    r"fetch\.prune|rerere\.enabled|color\..+|core\.(?:autocrlf|eol|filemode|ignorecase|quotepath)|commit\.gpgsign|"
    r"rebase\.auto\w+|merge\.conflictstyle|diff\.algorithm|help\.autocorrect",
    re.IGNORECASE,
)
_RUNNING_KEYS = re.compile(
    r"core\.(?:hookspath|fsmonitor|sshcommand|pager|editor|askpass|gitproxy)|alias\.|credential\.|sequence\.|pager\.|"
    r"(?:diff|merge)\..*(?:command|driver|textconv|external)|(?:diff|merge)tool\.|filter\.|gpg\.|include|url\.|"
    r"remote\..*(?:url|vcs|pack)|browser\.|man\.|web\.|init\.templatedir|protocol\.",
    re.IGNORECASE,
)


def _configures(command: Command, ground: Ground) -> bool:
    """Settings of git for everything, but for harmless ones, and those anywhere that name a program or a place."""
    if command.name != "git" or (words := command.subcommand(*VALUE_OPTIONS["git"]))[:1] != ["config"]:
        return False
    is_wide = any(re.match(r"--(?:gl|sy)", word) for word in words)
    said = [word for word in words[1:] if _CONFIG_FLAGS.fullmatch(word) is None]
    if not said or _READS_CONFIG.fullmatch(said[0]) or (len(said) == 1 and not said[0].startswith("-")):
        return False
    said = said[1:] if said[0] == "set" else said
    if len(said) == 2 and _HARMLESS_KEYS.fullmatch(said[0]):
        return False
    return is_wide or any(_RUNNING_KEYS.match(word) for word in said)


def _git_scope(command: Command, ground: Ground) -> str:
    """A yes to one setting is none to all."""
    return exact(command, ground) if program(command, ground) == "git config" else program(command, ground)


_GIT: Matches = any_of(
    _discards,
    _configures,
    lambda command, ground: (
        command.name == "git" and any(word.startswith("--exec-path=") or "ext::" in word for word in command.arguments)
    ),
    tool(
        "git",
        r"push\b.*(?: --force| -\w*f\w*\b(?!\w)| --mi| --de| -\w*d\b| --pru| \+\S| :\S)",
        r"reset\b.* --(?:ha|me|k)\w*",
        r"clean\b.* -\w*[fdxX]|clean\b.* --f",
        r"checkout\b.* (?:-- .|(?:\.|:/|\*)(?: |$)|-f\b|--force\b)",
        r"switch\b.* (?:-f|--force|--discard-changes)\b",
        r"branch\b.* (?:-D|-\w*D\w*|--delete .*--force)\b",
        r"stash (?:drop|clear)",
        r"tag\b.* (?:-d|--delete)\b",
        r"(?:filter-branch|filter-repo|replace|prune)\b",
        r"reflog (?:expire|delete)",
        r"gc\b.*--prune=(?:now|all)",
        r"update-ref\b.* -d",
        r"worktree remove\b.*(?:-f|--force)",
        r"submodule deinit\b.*(?:-f|--force)",
        r"remote (?:add|set-url|remove|rm)\b",
    ),
)

D = Level.DANGEROUS

INWARD: tuple[Rule, ...] = (
    Rule(
        "recursive-delete",
        D,
        "deletes directories with all that is in them",
        _deletes_trees,
        (
            "rm -rf build",
            "rm -r node_modules",
            "find build -delete",
            "rsync -a --delete a/ b/",
            "shred notes.txt",
        ),
        ("rm a.txt", "rm -f a.txt", "find . -name '*.o'", "find . -name '*.pyc' -delete"),
        _where,
    ),
    Rule(
        "unknown-code",
        D,
        "runs text that nobody can read beforehand",
        _runs_piped,
        ("cat steps.txt | sh", "generate | bash"),
        ("echo ls | sh", "bash build.sh", "sh -c 'ls | wc -l'"),
    ),
    Rule(
        "git-loses-work",
        D,
        "throws away work, rewrites history or changes where git gets its programs from",
        _GIT,
        (
            "git push --force",
            "git push -f origin main",
            "git reset --hard HEAD~1",
            "git clean -fdx",
            "git checkout -- .",
            "git branch -D topic",
            "git stash clear",
            "git push origin +main",
            "git config --global core.hooksPath x",
        ),
        (
            "git push",
            "git push origin main",
            "git reset HEAD a.txt",
            "git clean -n",
            "git checkout main",
            "git branch -d topic",
            "git restore --staged a.txt",
            "git status",
            "git config user.name",
            "git config --global user.email me@example.net",
            "git config --global core.pager",
        ),
        _git_scope,
    ),
    Rule(
        "becomes-root",
        D,
        "runs as another user",
        runs(r"(?:sudo|doas|pkexec|su|runuser|gosu|nsenter|chpst)(?: |$)"),
        ("sudo ls", "su - postgres", "doas make install"),
        ("echo sudo", "which sudo"),
        lambda command, ground: " ".join(command.words[:1] + tuple(command.operands[:2])),
    ),
    Rule(
        "system-packages",
        D,
        "installs or removes software of the machine",
        any_of(
            tool(
                r"apt|apt-get|aptitude|dnf|yum|zypper|snap|flatpak|brew|port|choco|winget|microdnf|nix-env|pkg",
                r"(?:install|reinstall|remove|purge|autoremove|upgrade|dist-upgrade|full-upgrade|uninstall|"
                r"erase|update -y|downgrade|in|rm|cask|tap|refresh)(?: |$)",
            ),
            tool("apk", r"(?:add|del|upgrade)\b"),
            runs(
                r"pacman -\w*[SRU]",
                r"dpkg .*(?:-i|-r|-P|--install|--remove|--purge)\b",
                r"rpm .*-\w*[iUeF]",
                r"nix-env -",
            ),
            runs(
                r"(?:npm|pnpm|yarn|bun) .*(?:\s-g\b|--global|global add)",
                r"pip[\d.]* install .*--break-system-packages",
                r"(?:gem|cpan|cpanm) install",
            ),
        ),
        (
            "apt-get install -y jq",
            "brew install jq",
            "npm install -g typescript",
            "pip install --break-system-packages x",
            "pacman -Syu",
        ),
        (
            "pip install requests",
            "npm install",
            "apt list --installed",
            "apt-get update",
            "brew list",
            "uv pip install x",
            "cargo build",
        ),
        program,
    ),
    Rule(
        "wide-rights",
        D,
        "gives rights to everybody, or changes rights of whole directories",
        _wide_rights,
        ("chmod -R 755 .", "chown -R me .", "chmod 777 run.sh", "chmod u+s ./x", "chmod a+w file"),
        ("chmod +x run.sh", "chmod 644 a.txt", "chmod 755 run.sh", "chmod u+w a.txt", "chown me a.txt"),
    ),
    Rule(
        "ends-processes",
        D,
        "ends processes that it may not have started",
        _kills,
        ("kill 4242", "kill -9 4242", "pkill -f server.py", "killall node", "fuser -k 8080/tcp"),
        ("kill -0 4242", "kill %1", "kill $!", "kill -l", "pgrep node"),
    ),
    Rule(
        "services",
        D,
        "starts, stops or changes services of the machine",
        any_of(
            tool(
                "systemctl",
                r"(?:start|stop|restart|reload|try-restart|enable|disable|mask|unmask|kill|daemon-re|edit|set-|"
                r"isolate|link|revert|import-environment)",
            ),
            runs(
                r"service \S+ (?:start|stop|restart|reload|force-reload)",
                r"launchctl (?:load|unload|start|stop|kickstart|bootstrap|bootout|enable|disable|remove)",
                r"(?:rc-service|rc-update|update-rc\.d|chkconfig|initctl|sv|supervisorctl) .*(?:start|stop|"
                r"restart|add|del|enable|disable|defaults|remove)",
            ),
        ),
        ("systemctl restart nginx", "systemctl --user enable x", "service ssh stop", "launchctl unload x.plist"),
        ("systemctl status nginx", "systemctl list-units", "service --status-all", "journalctl -u nginx"),
        program,
    ),
    Rule(
        "scheduled",
        D,
        "leaves something that starts later by itself",
        any_of(
            runs(
                r"crontab (?!-l(?: |$))",
                r"crontab$",
                r"(?:at|batch)(?: |$)",
                r"systemd-run .*--on-",
                r"loginctl enable-linger",
                r"schtasks .*/create",
            ),
        ),
        ("crontab jobs.txt", "crontab -r", "echo 'ls' | at now", "crontab -e"),
        ("crontab -l", "atq"),
    ),
    Rule(
        "containers",
        D,
        "deletes containers' data, or gives a container the machine",
        _breaks_containers,
        (
            "docker system prune -af",
            "docker volume rm data",
            "docker run --privileged alpine",
            "docker run -v /:/host alpine",
            "docker compose down -v",
            "docker run -v /var/run/docker.sock:/var/run/docker.sock x",
        ),
        (
            "docker ps",
            "docker build .",
            "docker run --rm alpine ls",
            "docker compose up -d",
            "docker logs x",
            "docker run -v ./src:/src x",
        ),
        program,
    ),
    Rule(
        "loses-data",
        D,
        "deletes tables or rows of a database",
        _destroys_data,
        (
            "psql -c 'DROP TABLE users'",
            "mysql -e 'TRUNCATE TABLE t'",
            "sqlite3 a.db 'DELETE FROM t;'",
            "dropdb prod",
            "redis-cli FLUSHALL",
            "echo 'drop database x' | mysql",
        ),
        ("psql -c 'SELECT 1'", "grep -rn 'DROP TABLE' migrations", "sqlite3 a.db 'DELETE FROM t WHERE id=1'"),
    ),
    Rule(
        "disks",
        D,
        "changes disks, mounts or swap",
        runs(
            r"(?:fdisk|sfdisk|cfdisk|gdisk|sgdisk|parted|partprobe|mkswap|swapon|swapoff|losetup|cryptsetup|"
            r"hdparm|blkdiscard|wipefs|tune2fs|resize2fs|e2fsck|fsck|xfs_repair)(?:\.\w+)? (?!-l(?: |$)|--list|"
            r"--version|--help)",
            r"(?:lv|vg|pv)(?:remove|create|reduce|resize|extend|change)(?: |$)",
            r"(?:zpool|zfs) (?:destroy|create|rollback|set)",
            r"btrfs subvolume delete",
            r"u?mount .",
            r"mdadm ",
        ),
        ("parted /dev/sda mklabel gpt", "mount /dev/sdb1 /mnt", "umount /mnt", "lvremove vg/lv", "swapoff -a"),
        ("mount", "lsblk", "df -h", "fdisk -l"),
    ),
    Rule(
        "system-settings",
        D,
        "changes the network, the kernel or the machine's settings",
        any_of(
            runs(
                r"(?:iptables|ip6tables)\b.* -[ADFIXPRNZ]",
                r"nft (?:add|delete|flush|insert)",
                r"ufw (?!status)",
                r"firewall-cmd .*--(?:add|remove|reload|set)",
                r"ip (?:-\S+ )*(?:link|addr|route|rule|address)\s+(?:set|add|del|delete|flush|replace|change)",
                r"ifconfig \S+ \S",
                r"route (?:add|del)",
                r"sysctl .*(?:-w|=|-p)",
                r"(?:modprobe|insmod|rmmod|depmod) .",
                r"hostnamectl (?:set|hostname )",
                r"timedatectl set",
                r"hwclock .*-w",
                r"date (?:-s|--set)",
                r"nmcli .*(?:add|delete|modify|down|up|connect)",
                r"update-alternatives --(?:set|install|remove)",
                r"setenforce",
                r"apparmor_parser",
                r"defaults (?:write|delete)",
                r"csrutil",
                r"spctl",
                r"scutil --set",
                r"networksetup -set",
                r"locale-gen",
                r"update-(?:grub|initramfs|ca-certificates)",
                r"(?:npm|pnpm|yarn|bun|pip[\d.]*) config (?!get|list|ls).*(?:registry|index-url|script-shell|proxy|"
                r"strict-ssl|cafile|trusted-host|\bshell\b|\bgit\b)",
                r"grub-install",
            )
        ),
        ("iptables -F", "ufw disable", "sysctl -w vm.swappiness=1", "ip link set eth0 down", "rmmod x"),
        ("ip addr show", "iptables -L", "ufw status", "sysctl -a", "date"),
    ),
    Rule(
        "accounts",
        D,
        "changes users, groups or passwords",
        runs(
            r"(?:useradd|usermod|userdel|adduser|deluser|groupadd|groupmod|groupdel|addgroup|delgroup|gpasswd|"
            r"chpasswd|passwd|chage|chsh|visudo|vipw|newusers|dscl)(?: |$)"
        ),
        ("useradd mallory", "passwd root", "usermod -aG docker me"),
        ("id", "groups", "getent passwd"),
    ),
    Rule(
        "own-process",
        D,
        "stops, restarts or changes the agent itself",
        tool(
            "hermes(?:-agent)?|hermeslink",
            r"(?:gateway\b(?! (?:status|logs|--help))|config (?:set|unset|edit)|expose|profile (?:delete|create)|"
            r"update|auth|pairing|mcp (?:add|remove)|skills (?:install|remove)|cron|jobs|setup|reset|uninstall)",
        ),
        ("hermes gateway stop", "hermes config set model.default x", "hermes expose tailscale"),
        ("hermes --version", "hermes config show", "hermes model"),
        program,
    ),
)
"""These ask in the mode manual."""
