// Draws the charts of a page with ECharts, from the data beside each (web/charts.py) and the colours of style.css.
// Tooltips are DOM nodes with text: no markup is ever made from data, and no inline style, so the CSP stays strict.
"use strict";

(() => {
  // The reader's own English (or Japanese) where the browser names one: day and month in the order they know.
  const page = document.documentElement.lang;
  const language = navigator.languages.find((tag) => tag.startsWith(page)) ?? page;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const day = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
  const month = new Intl.DateTimeFormat(language, { month: "short" });
  const dayOfMonth = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
  const year = new Intl.DateTimeFormat(language, { year: "numeric" });
  const drawn = new Map(); // figure -> ECharts instance
  const library = document.currentScript.dataset.library; // its address; absent where the package came without it
  let missing = !library;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function palette() {
    const names = ["ink", "soft", "line", "card", "indigo", "indigo-fill", "indigo-soft", "amber", "amber-fill", "grey-fill"];
    const found = Object.fromEntries(names.map((name) => [name, colour(name)]));
    found.heat = [0, 1, 2, 3, 4].map((step) => colour(`heat-${step}`));
    return found;
  }

  function tip(title, lines) {
    const box = document.createElement("div");
    box.className = "tip";
    for (const [tag, text] of [["b", title], ...lines.map((line) => ["span", line])]) {
      const element = document.createElement(tag);
      element.textContent = text;
      box.append(element);
    }
    return box;
  }

  function common(c) {
    return {
      animation: !calm.matches,
      animationDuration: 400,
      animationDurationUpdate: 400,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: c.soft },
      tooltip: {
        confine: true,
        backgroundColor: c.card,
        borderColor: c.line,
        padding: [8, 12],
        textStyle: { color: c.ink },
        transitionDuration: 0,
      },
      legend: { top: 0, left: 0, itemGap: 18, textStyle: { color: c.soft } },
      grid: { left: 8, right: 12, top: 40, bottom: 8, containLabel: true },
    };
  }

  const axisLine = (c) => ({ axisLine: { lineStyle: { color: c.line } }, axisTick: { show: false }, axisLabel: { color: c.soft } });
  const splitLine = (c) => ({ splitLine: { lineStyle: { color: c.line } }, axisLabel: { color: c.soft } });

  // Named with the year at each January and at the left end; days where months would be too coarse.
  function timeLabel(points) {
    const span = points.length ? points[points.length - 1].at - points[0].at : 0;
    if (span < 100 * 86400e3) return (at) => dayOfMonth.format(at);
    return (at) => (new Date(at).getMonth() === 0 ? year.format(at) : month.format(at));
  }

  function band(spec, c, width) {
    const { points, fan, names } = spec; // the fan opens at the newest figure
    const column = (key, of = points) => of.map((p) => [p.at, p[key]]);
    const values = [...points, ...fan].flatMap((p) => [p.lo, p.hi, p.reported ?? null]).filter((v) => v !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const step = [5, 10, 20].find((size) => high - low <= 5 * size) ?? 20;
    const floor = Math.max(0, Math.floor((low - 1) / step) * step);
    const ceiling = Math.max(floor + 2 * step, Math.ceil((high + 1) / step) * step);
    const edge = { type: "line", stack: "interval", stackStrategy: "all", symbol: "none", lineStyle: { opacity: 0 }, silent: true };
    const fanEdge = { ...edge, stack: "fan" };
    const alone = points.length < 2;
    return {
      ...common(c),
      legend: {
        ...common(c).legend,
        data: [
          { name: names.value, icon: "roundRect" },
          { name: names.interval, icon: "rect" },
          { name: names.reported, icon: "diamond" },
          ...(fan.length ? [{ name: names.ahead, icon: "circle" }] : []),
        ],
      },
      grid: { ...common(c).grid, top: width < 430 ? 72 : 44 },
      xAxis: {
        type: "time",
        ...axisLine(c),
        axisLabel: { color: c.soft, formatter: timeLabel([...points, ...fan]), hideOverlap: true },
        splitNumber: width < 500 ? 4 : 8,
      },
      yAxis: { type: "value", min: floor, max: ceiling, interval: step, ...splitLine(c), axisLabel: { color: c.soft, formatter: `{value} ${spec.unit}` } },
      tooltip: {
        ...common(c).tooltip,
        trigger: "axis",
        axisPointer: { lineStyle: { color: c.soft } },
        formatter: (found) => {
          const at = found[0].value[0];
          const point = points.find((p) => p.at === at);
          if (!point) return tip(day.format(at), [`${names.ahead}: ${fan.find((p) => p.at === at).text}`]);
          return tip(day.format(point.at), [`${names.value}: ${point.text}`, `${names.reported}: ${point.reported_text}`]);
        },
      },
      series: [
        { ...edge, name: "lower edge", data: column("lo") },
        {
          ...edge,
          name: names.interval,
          data: points.map((p) => [p.at, p.lo === null ? null : p.hi - p.lo]),
          areaStyle: { color: c["indigo-soft"], opacity: 0.85 },
          itemStyle: { color: c["indigo-soft"] },
        },
        { ...fanEdge, name: "lower edge of the fan", data: column("lo", fan) },
        {
          ...fanEdge,
          name: "fan",
          data: fan.map((p) => [p.at, p.hi - p.lo]),
          areaStyle: { color: c["indigo-soft"], opacity: 0.45 },
        },
        {
          name: names.ahead,
          type: "line",
          data: column("value", fan),
          symbol: "circle",
          symbolSize: 6,
          showSymbol: false,
          lineStyle: { color: c.indigo, width: 2, type: "dotted" },
          itemStyle: { color: c.indigo },
        },
        {
          name: names.reported,
          type: "line",
          step: "end",
          data: column("reported"),
          symbol: "diamond",
          symbolSize: 9,
          showSymbol: alone,
          lineStyle: { color: c["amber-fill"], width: 2, type: "dashed" },
          itemStyle: { color: c["amber-fill"] },
        },
        {
          name: names.value,
          type: "line",
          data: column("value"),
          symbol: "circle",
          symbolSize: 8,
          showSymbol: alone,
          lineStyle: { color: c.indigo, width: 3 },
          itemStyle: { color: c.indigo },
          z: 5,
        },
      ],
    };
  }

  // Fast charging and discharging are striped, unknown is dotted: colour never speaks alone.
  function tone(name, c) {
    const stripes = { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 4], rotation: -Math.PI / 4, color: c.card };
    const dots = { symbol: "circle", symbolSize: 0.6, dashArrayX: [[4, 4]], dashArrayY: [4, 4], color: c.card };
    if (name === "dc") return { color: c["amber-fill"], decal: stripes };
    if (name === "out") return { color: c["grey-fill"], decal: stripes };
    if (name === "unknown") return { color: c["grey-fill"], decal: dots };
    return { color: c["indigo-fill"] };
  }

  // About how wide labels are: Japanese letters are square, ours half as wide.
  const longest = (labels) => Math.max(...labels.map((label) => [...label].reduce((sum, letter) => sum + (letter > "\u2e80" ? 12 : 6.5), 4)));

  function bars(spec, c, width) {
    const { categories, series, unit, mirrored } = spec;
    const few = categories.length <= 12;
    const categoryAxis = {
      type: "category",
      data: categories,
      ...axisLine(c),
      axisLabel: few
        ? { color: c.soft, interval: 0, rotate: !mirrored && longest(categories) > (width - 60) / categories.length ? 40 : 0 }
        : { color: c.soft, hideOverlap: true },
    };
    const most = Math.max(1, ...series.flatMap((s) => s.values));
    const step = 10 ** Math.floor(Math.log10(most));
    const reach = Math.ceil(most / step) * step;
    const valueAxis = {
      type: "value",
      ...splitLine(c),
      ...(mirrored ? { min: -reach, max: reach, interval: reach / 2 } : {}),
      axisLabel: {
        color: c.soft,
        hideOverlap: true,
        formatter: (value) => number.format(Math.abs(value)),
      },
    };
    return {
      ...common(c),
      legend: { ...common(c).legend, show: series.length > 1 },
      grid: { ...common(c).grid, top: series.length > 1 ? 40 : 16 },
      xAxis: mirrored ? valueAxis : categoryAxis,
      yAxis: mirrored ? categoryAxis : valueAxis,
      tooltip: {
        ...common(c).tooltip,
        trigger: "axis",
        axisPointer: { type: "shadow" },
        formatter: (found) => {
          const at = found[0].dataIndex;
          return tip(categories[at], series.map((s) => `${s.name}: ${number.format(s.values[at])} ${unit}`));
        },
      },
      series: series.map((s, i) => ({
        name: s.name,
        type: "bar",
        stack: "all",
        barMaxWidth: 34,
        barCategoryGap: "24%",
        data: mirrored && i === 0 ? s.values.map((v) => -v) : s.values,
        itemStyle: { ...tone(s.tone, c), borderColor: c.card, borderWidth: 0 },
      })),
    };
  }

  // Black or white, whichever reads better on the shade (WCAG relative luminance; one of them is always above 4.5 : 1).
  function labelOn(shade, shades) {
    const [r, g, b] = echarts.color.parse(echarts.color.lerp(shade, shades)).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
  }

  function heat(spec, c, width) {
    const cells = spec.values.flatMap((row, y) => row.map((value, x) => [x, y, value]));
    const most = Math.max(1, ...cells.map((cell) => cell[2]));
    const roomy = width >= 620;
    // Square root: a few long-parked fields would otherwise leave all others white.
    const shade = (value) => Math.sqrt(value / most);
    const name = { nameLocation: "middle", nameTextStyle: { color: c.soft } };
    return {
      ...common(c),
      legend: { show: false },
      grid: { left: 40, right: 8, top: 8, bottom: 56, containLabel: false },
      xAxis: { type: "category", data: spec.x, name: spec.x_name, nameGap: 34, ...name, ...axisLine(c), axisLabel: { color: c.soft, interval: 0, fontSize: roomy ? 12 : 10, rotate: roomy ? 0 : 30 } },
      yAxis: { type: "category", data: spec.y, name: roomy ? spec.y_name : "", nameGap: 56, ...name, ...axisLine(c), axisLabel: { color: c.soft, fontSize: roomy ? 12 : 10 } },
      visualMap: { show: false, min: 0, max: 1, dimension: 3, inRange: { color: c.heat } },
      tooltip: {
        ...common(c).tooltip,
        formatter: ({ data }) =>
          tip(`${number.format(data[2])} ${spec.unit}`, [`${spec.y_name}: ${spec.y[data[1]]}`, `${spec.x_name}: ${spec.x[data[0]]}`]),
      },
      series: [
        {
          type: "heatmap",
          data: cells.map(([x, y, value]) => ({
            value: [x, y, value, shade(value)],
            label: { color: labelOn(shade(value), c.heat) },
          })),
          label: { show: roomy, formatter: ({ value }) => (value[2] >= 0.05 ? number.format(value[2] < 10 ? value[2] : Math.round(value[2])) : "") },
          itemStyle: { borderColor: c.card, borderWidth: 2, borderRadius: 3 },
          emphasis: { itemStyle: { borderColor: c["amber-fill"], borderWidth: 2 } },
        },
      ],
    };
  }

  const KINDS = { band, bars, heat };

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    if (!drawn.has(figure)) drawn.set(figure, echarts.init(plot));
    drawn.get(figure).setOption(KINDS[spec.kind](spec, palette(), plot.clientWidth), { replaceMerge: ["series"] });
    figure.dataset.drawn = "yes";
  }

  function showTables() {
    for (const figure of document.querySelectorAll(".chart")) {
      figure.querySelector(".plot").hidden = true;
      figure.querySelector(".missing").hidden = false;
      figure.querySelector(".data").open = true;
    }
  }

  function drawAll() {
    if (typeof echarts === "undefined") {
      if (missing) showTables(); // else it is on its way
      return;
    }
    for (const [figure, instance] of drawn) {
      if (!figure.isConnected) {
        instance.dispose();
        drawn.delete(figure);
      }
    }
    document.querySelectorAll(".chart").forEach(draw);
  }

  let wait = 0;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(() => {
      for (const instance of drawn.values()) instance.resize();
      drawAll();
    }, 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.paper = "";
    for (const instance of drawn.values()) instance.resize({ width: 640, animation: { duration: 0 } });
    drawAll();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.paper;
    for (const instance of drawn.values()) instance.resize({ width: "auto" });
    drawAll();
  });

  // Figures, words and tables come first: the library is fetched when all of the page stands.
  function fetchLibrary() {
    if (missing || !document.querySelector(".chart")) {
      drawAll();
      return;
    }
    const script = document.createElement("script");
    script.src = library;
    script.addEventListener("load", drawAll);
    script.addEventListener("error", () => {
      missing = true;
      drawAll();
    });
    document.head.append(script);
  }

  document.addEventListener("packbook:changed", drawAll);
  if (document.readyState === "complete") fetchLibrary();
  else addEventListener("load", fetchLibrary);
})();
