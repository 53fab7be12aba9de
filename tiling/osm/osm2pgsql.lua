-- The flex style of osm2pgsql: interprets the channel catalogue, which tiling/osm/osm2pgsql.py writes as a Lua table.
-- What the embedded importer draws (tiling/osm/extract.py) is drawn here, by the same rules.

local settings = dofile(os.getenv('LOC2VEC_SETTINGS'))

local drawn = osm2pgsql.define_table{
    name = 'drawn', schema = settings.schema,
    ids = { type = 'any', type_column = 'osm_type', id_column = 'osm_id' },
    columns = {
        { column = 'area', type = 'bool' },
        { column = 'channel', type = 'int2' },
        { column = 'width_m', type = 'real' },
        { column = 'version', type = 'int4' },
        { column = 'nodes', type = 'int4' },  -- of a way, or member ways of a relation: fewer in geom = some are missing
        { column = 'geom', type = 'geometry', projection = 4326 },  -- null: could not be made
    },
    indexes = {}, cluster = 'no',
}

local coastline = osm2pgsql.define_table{
    name = 'coastline', schema = settings.schema,
    ids = { type = 'way', id_column = 'osm_id' },
    columns = {
        { column = 'nodes', type = 'int4' },
        { column = 'geom', type = 'geometry', projection = 4326 },
    },
    indexes = {}, cluster = 'no',
}

-- What has a name; which names and kinds count is for tiling/osm/names.py to say, which reads these tags.
local named = osm2pgsql.define_table{
    name = 'named', schema = settings.schema,
    ids = { type = 'any', type_column = 'osm_type', id_column = 'osm_id' },
    columns = {
        { column = 'version', type = 'int4' },
        { column = 'tags', type = 'jsonb' },
        { column = 'geom', type = 'geometry', projection = 4326, not_null = true },
    },
    indexes = {}, cluster = 'no',
}

-- Rules by kind and first key, so that an object meets only the few that can fit.
local by_key = { line = {}, area = {}, point = {} }
for number, rule in ipairs(settings.rules) do
    rule.number = number
    local key = rule.tags[1].key
    local of_kind = by_key[rule.on]
    of_kind[key] = of_kind[key] or {}
    table.insert(of_kind[key], rule)
end

local function holds(tags, condition)
    local value = tags[condition.key]
    return value ~= nil and (condition.values == nil or condition.values[value] ~= nil)
end

local function fits(match, tags)
    for _, condition in ipairs(match.tags) do
        if not holds(tags, condition) then return false end
    end
    for _, condition in ipairs(match.without) do
        if holds(tags, condition) then return false end
    end
    return true
end

local function hidden(kind, tags)
    for _, match in ipairs(settings.hidden) do
        if match.on == kind and fits(match, tags) then return true end
    end
    return false
end

-- Insert a row for each channel that the object falls in; `make` makes its geometry, once; nil = there is none to make.
local function draw(kind, object, nodes, make)
    local first = {}
    for key in pairs(object.tags) do
        for _, rule in ipairs(by_key[kind][key] or {}) do
            local held = first[rule.channel]
            if (held == nil or rule.number < held.number) and fits(rule, object.tags) then
                first[rule.channel] = rule
            end
        end
    end
    if next(first) == nil or hidden(kind, object.tags) then return end
    local geom = make()
    if geom == nil then return end
    for channel, rule in pairs(first) do
        drawn:insert{
            area = kind == 'area', channel = channel, width_m = rule.width_m,
            version = object.version or 0, nodes = nodes, geom = geom,
        }
    end
end

local function name(object, make)
    if object.tags.name == nil then return end
    local kept = {}
    for _, key in ipairs(settings.name_keys) do kept[key] = object.tags[key] end
    named:insert{ version = object.version or 0, tags = kept, geom = make() }
end

function osm2pgsql.process_node(object)
    name(object, function() return object:as_point() end)
    draw('point', object, 1, function() return object:as_point() end)
end

function osm2pgsql.process_way(object)
    local tags, count = object.tags, #object.nodes
    name(object, function()
        -- A way has its name for what it encloses, unless it is a street (tiling.osm.names.is_area).
        if object.is_closed and tags.area ~= 'no' and (tags.highway == nil or tags.area == 'yes') then
            return object:as_polygon()
        end
        return object:as_linestring()
    end)
    if tags.natural == 'coastline' then
        coastline:insert{ nodes = count, geom = object:as_linestring() }
    end
    if not (tags.area == 'yes' and object.is_closed) then
        draw('line', object, count, function() return object:as_linestring() end)
    end
    if count > 3 and tags.area ~= 'no' then
        draw('area', object, count, function()
            local polygon = object:as_polygon()
            -- A way is also closed by two nodes in one place.
            if object.is_closed or not polygon:is_null() then return polygon end
        end)
    end
end

function osm2pgsql.process_relation(object)
    local kind = object.tags.type
    if kind ~= 'multipolygon' and kind ~= 'boundary' then return end
    name(object, function() return object:as_multipolygon() end)
    local ways = 0
    for _, member in ipairs(object.members) do
        if member.type == 'w' then ways = ways + 1 end
    end
    draw('area', object, ways, function() return object:as_multipolygon() end)
end
