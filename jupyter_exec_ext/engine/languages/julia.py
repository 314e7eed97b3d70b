"""Julia: IJulia, through a private MIME type, since it cuts standard output at 512 KiB.

The code is evaluated in a module of its own, so that nothing the user defined takes part in it.
"""

from collections.abc import Mapping

from jupyter_exec_ext.engine.languages.exchange import (
    MAX_DEPTH,
    MAX_ERROR_LENGTH,
    READING_MIME,
    Language,
    Request,
    base64_of,
)

_CALL = """\
let base64 = Base.require(Base.PkgId(
        Base.UUID("2a0f44e3-6c83-55bd-87e4-b1978d98bd5f"), "Base64")),
    source = Base.String(Base.invokelatest(base64.base64decode, "{source}")),
    main = Base.include_string(Base.Module(:jupyter_exec_ext), source)
    Base.invokelatest(main, base64{data})
    nothing
end"""

_SET = """
const KEPT = Symbol("#jupyter_exec_ext_environment")

function main(base64, pairs...)
    previous = isdefined(Main, KEPT) ? getfield(Main, KEPT) : nothing
    if previous === nothing
        previous = Dict{String, Union{String, Nothing}}()
        Core.eval(Main, Expr(:(=), KEPT, previous))
    end
    decode(text) = String(base64.base64decode(text))
    for (name, _) in pairs
        get!(previous, decode(name), get(ENV, decode(name), nothing))
    end
    for (name, value) in pairs
        value === nothing ? delete!(ENV, decode(name)) : (ENV[decode(name)] = decode(value))
    end
end

main
"""

_RESTORE = """
const KEPT = Symbol("#jupyter_exec_ext_environment")

function main(base64)
    previous = isdefined(Main, KEPT) ? getfield(Main, KEPT) : nothing
    previous === nothing && return
    Core.eval(Main, Expr(:(=), KEPT, nothing))
    for (name, value) in previous
        value === nothing ? delete!(ENV, name) : (ENV[name] = value)
    end
end

main
"""

_READ = """
struct NotJson <: Exception end
struct TooLarge <: Exception end

function add(io, limit, text)
    print(io, text)
    position(io) > limit && throw(TooLarge())
end

function write_string(io, limit, text)
    isvalid(text) || throw(NotJson())
    ncodeunits(text) > limit && throw(TooLarge())
    print(io, '"')
    for c in text
        if c == '"' || c == '\\\\'
            print(io, '\\\\', c)
        elseif c < ' '
            print(io, "\\\\u", string(UInt32(c), base = 16, pad = 4))
        else
            print(io, c)
        end
    end
    add(io, limit, '"')
end

function write_items(write_item, io, limit, items, opening, closing)
    print(io, opening)
    for (index, item) in enumerate(items)
        index > 1 && print(io, ',')
        write_item(item)
    end
    add(io, limit, closing)
end

function write_json(io, limit, x, depth)
    depth > max_depth && throw(NotJson())
    if x === nothing || x === missing
        add(io, limit, "null")
    elseif x isa Bool
        add(io, limit, x ? "true" : "false")
    elseif x isa Union{Base.BitInteger, BigInt}
        add(io, limit, string(x))
    elseif x isa Union{Float16, Float32, Float64}
        isfinite(x) || throw(NotJson())
        add(io, limit, string(x))
    elseif x isa AbstractString
        write_string(io, limit, x)
    elseif x isa NamedTuple || x isa AbstractDict
        write_items(io, limit, pairs(x), '{', '}') do (key, value)
            x isa NamedTuple || key isa AbstractString || throw(NotJson())
            write_string(io, limit, string(key))
            print(io, ':')
            write_json(io, limit, value, depth + 1)
        end
    elseif x isa Tuple || x isa AbstractVector
        write_items(io, limit, x, '[', ']') do item
            write_json(io, limit, item, depth + 1)
        end
    else
        throw(NotJson())
    end
end

function shown(x)
    for (id, package) in Base.loaded_modules
        id.name == "IJulia" && return Base.invokelatest(package.display_dict, x)
    end
    return Dict("text/plain" => Base.invokelatest(repr, MIME("text/plain"), x))
end

function show_into(entry, x, limit)
    data = entry["data"] = Dict{String, Any}()
    json_data = entry["json_data"] = Dict{String, Any}()
    entry["truncated"] = false
    for (mime, part) in shown(x)
        bundle, text = part isa AbstractString ? (data, part) : (json_data, getfield(part, 1))
        text = String(text)
        if ncodeunits(text) > limit
            entry["truncated"] = true
        elseif isvalid(text)
            bundle[string(mime)] = text
        end
    end
end

function describe(name, limit)
    symbol = try
        Symbol(name)
    catch
        return Dict{String, Any}("problem" => "impossible")
    end
    isdefined(Main, symbol) || return Dict{String, Any}("problem" => "missing")
    x = getfield(Main, symbol)
    entry = Dict{String, Any}("type" => string(typeof(x)))
    io = IOBuffer()
    try
        write_json(io, limit, x, 0)
        entry["json"] = String(take!(io))
    catch e
        e isa InterruptException && rethrow()
        if e isa TooLarge
            entry["problem"] = "large"
        else
            show_into(entry, x, limit)
        end
    end
    return entry
end

function main(base64, limit, marker, mime, names...)
    entries = Any[]
    for name in names
        entry = try
            describe(String(base64.base64decode(name)), limit)
        catch e
            e isa InterruptException && rethrow()
            text = try
                sprint(showerror, e)
            catch
                string(typeof(e))
            end
            Dict{String, Any}("error" => isvalid(text) ? first(text, max_error_length) : "")
        end
        push!(entries, entry)
    end
    io = IOBuffer()
    write_json(io, typemax(Int), entries, 0)
    Base.invokelatest(display, mime, string(marker, ' ', base64.base64encode(take!(io))))
end

main
"""


class Julia(Language):
    """IJulia."""

    name = "julia"

    def _setting(self, variables: Mapping[str, bytes | None]) -> Request:
        pairs = (f'("{base64_of(name)}", {_value(raw)})' for name, raw in variables.items())
        return _request(_SET, *pairs)

    def _restoring(self) -> Request:
        return _request(_RESTORE)

    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request:
        constants = f"const max_depth = {MAX_DEPTH}\nconst max_error_length = {MAX_ERROR_LENGTH}\n"
        words = (f'"{word}"' for word in (marker, READING_MIME, *map(base64_of, names)))
        return _request(constants + _READ, str(max_bytes), *words)


def _value(raw: bytes | None) -> str:
    return "Base.nothing" if raw is None else f'"{base64_of(raw)}"'


def _request(source: str, *data: str) -> Request:
    arguments = "".join(f", {argument}" for argument in data)
    return Request(code=_CALL.format(source=base64_of(source), data=arguments))
