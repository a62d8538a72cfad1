"""The scripts that bash, zsh and fish load: they hand the words to the program, and show its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BASH = """\
# Completion of bangerbuild in bash: source <(bangerbuild completion bash), in ~/.bashrc
_bangerbuild() {
    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} answer paths
    [ "$current" != = ] || current=
    answer=($("${COMP_WORDS[0]}" completion answer "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null))
    paths=${answer[0]}
    COMPREPLY=("${answer[@]:1}")
    COMPREPLY=("${COMPREPLY[@]%%$'\\t'*}")
    case $paths in
    files) COMPREPLY+=($(compgen -f -- "$current")) ;;
    directories) COMPREPLY+=($(compgen -d -- "$current")) ;;
    esac
    [ "$paths" = nothing ] || compopt -o filenames 2>/dev/null
    [[ ${#COMPREPLY[@]} -ne 1 || $COMPREPLY != *. ]] || compopt -o nospace 2>/dev/null
}
complete -F _bangerbuild bangerbuild
"""

ZSH = """\
#compdef bangerbuild
# Completion of bangerbuild in zsh: source <(bangerbuild completion zsh), in ~/.zshrc after compinit
_bangerbuild() {
    local -a answer found partial described
    local one
    answer=("${(@f)$("$words[1]" completion answer "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    for one in "${(@)answer[2,-1]}"; do
        case $one in
        *.) partial+=("$one") ;;
        *) found+=("${one%%$'\\t'*}") described+=("${one/$'\\t'/  }") ;;
        esac
    done
    [[ $#partial -eq 0 ]] || compadd -S '' -- "${(@)partial}"
    [[ $#found -eq 0 ]] || compadd -l -d described -- "${(@)found}"
    case $answer[1] in
    files) _files ;;
    directories) _files -/ ;;
    esac
}
compdef _bangerbuild bangerbuild
"""

FISH = """\
# Completion of bangerbuild in fish: bangerbuild completion fish | source, in ~/.config/fish/config.fish
function __bangerbuild_answer
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($words[1] completion answer $words "$current" 2>/dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path "$current"
        case directories
            __fish_complete_directories "$current"
    end
    printf '%s\\n' $answer[2..-1]
end
complete -c bangerbuild -f -a '(__bangerbuild_answer)'
"""

SHELLS: Mapping[str, str] = {"bash": BASH, "zsh": ZSH, "fish": FISH}
