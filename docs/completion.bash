# Tab completes what run.py can be told: groups and choices, keys and their values. In bash:
#     source docs/completion.bash
# In zsh, `autoload -Uz bashcompinit && bashcompinit` comes first. Hydra's own, `python run.py -sc install=bash`, would
# start whatever program stands after `python`, not only this one, to ask it for completions.
_tandem() {
    local line=${COMP_LINE:0:COMP_POINT} word="" choices
    local -a words=($line)
    [[ ${words[1]##*/} == run.py && -f ${words[1]} ]] || return
    [[ $line == *[[:space:]] ]] || word=${words[${#words[@]} - 1]}
    choices=$(COMP_LINE="python run.py${line#*run.py}" "${words[0]}" "${words[1]}" -sc query=bash 2>/dev/null)
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    [[ $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}") # bash completes after the =
}
complete -o nospace -o default -F _tandem python python3
